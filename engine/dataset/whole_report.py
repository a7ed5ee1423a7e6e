"""Puts a report together from pictures and findings, for one folder and for several sets."""

import re
import statistics
from collections import Counter

from engine.dataset.findings import Finding, Level
from engine.dataset.report import Counts, DatasetReport, Item

TOP_WORDS = 30
_SMALL_WORDS = {"a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or"}
_SMALL_WORDS |= {"that", "the", "this", "to", "with"}
LEVEL_ORDER: dict[Level, int] = {"error": 0, "warning": 1, "info": 2}


def put_together(
    folder: str,
    resolution: int,
    trigger: str,
    recursive: bool,
    deep: bool,
    items: list[Item],
    problems: list[Finding],
    counts: Counts,
) -> DatasetReport:
    """The report of these pictures and findings; sizes, words and medians follow from the pictures."""
    table = Counter(size for item in items for size in item.sizes)
    words, words_are = _histogram([item.caption for item in items])
    return DatasetReport(
        folder=folder,
        resolution=resolution,
        trigger=trigger,
        recursive=recursive,
        deep=deep,
        items=tuple(items),
        problems=tuple(
            sorted(problems, key=lambda finding: (LEVEL_ORDER[finding.level], finding.code, finding.file))
        ),
        counts=counts,
        buckets=dict(sorted(table.items(), key=lambda entry: (-entry[1], entry[0]))),
        median_size=(
            round(statistics.median(item.width for item in items)) if items else 0,
            round(statistics.median(item.height for item in items)) if items else 0,
        ),
        words=words,
        words_are=words_are,
    )


def _histogram(captions: list[str]) -> tuple[tuple[tuple[str, int], ...], str]:
    """The TOP_WORDS tags (where most captions list them) or words, with how many captions hold each."""
    tagged = sum(caption.count(",") >= 3 for caption in captions) * 2 > len(captions)
    counter: Counter[str] = Counter()
    for caption in captions:
        if tagged:
            counter.update({tag for part in caption.split(",") if (tag := part.strip().lower())})
        else:
            counter.update(set(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", caption.lower())) - _SMALL_WORDS)
    ranked = sorted(counter.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(ranked[:TOP_WORDS]), "tags" if tagged else "words"

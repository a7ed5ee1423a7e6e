"""What one draw sees of a picture's captions: which of them, and what wildcards and tags in it become."""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate

from engine import keys
from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.captions import has_trigger
from engine.dataset.report import Item
from engine.dataset.treatment import Treatment

Draw = tuple[int, int]
"""The epoch, and a number of the draw."""
_WILDCARD = re.compile(r"\{([^{}]*\|[^{}]*)\}")


class CaptionDraws:
    """The captions of some pictures as their draws see them: a function of seed and draw alone."""

    def __init__(
        self, items: Sequence[Item], treatments: Sequence[Treatment], rules: CaptionRules, seed: int
    ) -> None:
        self._items = items
        self._treatments = treatments
        self._rules = rules
        self._seed = seed

    def texts(self, rows: Sequence[int], dropped: Sequence[bool], draws: Sequence[Draw]) -> list[str]:
        """The text that each of these pictures is shown with, empty where it is dropped."""
        drawn = zip(rows, dropped, draws, strict=True)
        return ["" if drop else self._text(row, *draw) for row, drop, draw in drawn]

    def every(self) -> set[str]:
        """Every text that can come up, where nothing is drawn within a caption."""
        return {
            self._shown(text, row, 0, 0)
            for row, item in enumerate(self._items)
            for text, _ in item.choices or ((item.caption, 1.0),)
        }

    def _text(self, row: int, epoch: int, index: int) -> str:
        choices = self._items[row].choices
        text = self._items[row].caption
        if choices:
            text = choices[0][0] if len(choices) == 1 else self._chosen(choices, epoch, index)
        return self._shown(text, row, epoch, index)

    def _chosen(self, choices: Sequence[tuple[str, float]], epoch: int, index: int) -> str:
        sums = list(accumulate(weight for _, weight in choices))
        drawn = keys.uniform(self._seed, "caption-choice", epoch, index) * sums[-1]
        found = (text for (text, _), most in zip(choices, sums, strict=True) if drawn < most)
        return next(found, choices[-1][0])

    def _shown(self, text: str, row: int, epoch: int, index: int) -> str:
        own = self._treatments[row]
        shuffled, kept = own.shuffle_tags, own.keep_tags
        return variant(
            text, self._seed, epoch, index, shuffle_tags=shuffled, keep_tags=kept, rules=self._rules
        )


def variant(
    caption: str,
    seed: int,
    epoch: int,
    index: int,
    *,
    shuffle_tags: bool = False,
    keep_tags: int = 0,
    rules: CaptionRules = USUAL,
) -> str:
    """What draw `index` of `epoch` sees of the caption: nothing but the arguments decides.

    Of each wildcard {a|b} one side is taken. With `shuffle_tags` the comma-separated tags after the first `keep_tags`
    are permuted; with tag dropout each of them may be left out. Prefix and suffix stay where they are.
    """
    head, text, tail = rules.inside(caption)
    if rules.wildcards:
        text = _without_wildcards(text, lambda n: keys.uniform(seed, "caption-wildcard", epoch, index, n))
    marked = bool(rules.keep_separator) and rules.keep_separator in text
    if shuffle_tags or rules.tag_dropout or marked:
        first, rest, last = _tags(text, keep_tags, rules.keep_separator if marked else "")
        if shuffle_tags:
            order = keys.permutation(len(rest), seed, "tags", epoch, index)
            rest = [rest[int(at)] for at in order]
        if rules.tag_dropout:
            rest = _left(rest, rules, lambda n: keys.uniform(seed, "tag-dropout", epoch, index, n))
        text = ", ".join(first + rest + last)
    return head + _joined(text, rules) + tail


def plain(caption: str, rules: CaptionRules) -> str:
    """The caption for reading and for prompts: the first side of each wildcard, all tags in their order, no marks."""
    head, text, tail = rules.inside(caption)
    text = _without_wildcards(text, lambda n: 0.0) if rules.wildcards else text
    if rules.keep_separator and rules.keep_separator in text:
        text = ", ".join(tag for part in _tags(text, 0, rules.keep_separator) for tag in part)
    return head + _joined(text, rules) + tail


def has_wildcard(text: str) -> bool:
    """Whether something of the form {a|b} stands in the text."""
    return _WILDCARD.search(text) is not None


def _without_wildcards(text: str, draw: Callable[[int], float]) -> str:
    """The text with one side of each wildcard, the inner ones first; `draw(n)` in [0, 1) decides the n-th."""
    count = 0
    while match := _WILDCARD.search(text):
        sides = match[1].split("|")
        side = sides[int(draw(count) * len(sides))].strip()
        text = text[: match.start()] + side + text[match.end() :]
        count += 1
    return text


def _tags(text: str, keep: int, separator: str) -> tuple[list[str], list[str], list[str]]:
    """The tags that stay in front, those that may move, and those that stay at the end.

    With a separator, as kohya's keep_tokens_separator: what stands before its first place stays, and what stands behind
    its second; without, the first `keep` stay.
    """
    parts = text.split(separator, 2) if separator else [text]
    first, rest, last = ([_split(part) for part in parts] + [[], []])[:3]
    return (first, rest, last) if separator else (first[:keep], first[keep:], [])


def _split(text: str) -> list[str]:
    return [tag for tag in (part.strip() for part in text.split(",")) if tag]


def _left(tags: list[str], rules: CaptionRules, draw: Callable[[int], float]) -> list[str]:
    kept = rules.protected_tags
    return [
        tag
        for at, tag in enumerate(tags)
        if draw(at) >= rules.tag_dropout or any(has_trigger(tag, word) for word in kept)
    ]


def _joined(text: str, rules: CaptionRules) -> str:
    """Tags that were held together are tags like others from here on."""
    own = rules.secondary_separator
    return ", ".join(_split(text.replace(own, ","))) if own and own in text else text

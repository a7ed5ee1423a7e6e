"""Rules about what captions are made of."""

from __future__ import annotations

from collections.abc import Iterator

from engine.dataset.caption_draws import has_wildcard
from engine.dataset.caption_rules import CAPTION, TEMPLATES, WORD
from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule


def weights(ctx: Context) -> Iterator[Problem]:
    own = ctx.plan.captions
    if any(weight < 0 for weight in own.weights):
        why = "it says how often a caption is drawn against the others"
        yield Problem(
            "captions.weights", "has a weight below 0", why, "set 0 for a caption that is not drawn"
        )
    elif own.weights and own.several == "one":
        why = "of each picture one caption is used"
        fix = 'set captions.several to "lines", "files" or "all", or leave the weights out'
        yield warning("captions.weights", "changes nothing", why, fix)
    elif own.weights and not any(own.weights):
        yield Problem("captions.weights", "is 0 throughout", "no caption would be drawn", "raise one")


def several(ctx: Context) -> Iterator[Problem]:
    choice, report = ctx.plan.captions.several, ctx.report
    if choice == "one" or report is None or not report.items or report.counts.several_captions:
        return
    what = {"lines": "line", "files": "file with a caption"}.get(choice, "line or file")
    fix = 'write them, or set captions.several = "one"'
    yield warning("captions.several", f"{choice!r} changes nothing", f"no picture has a second {what}", fix)


def templates(ctx: Context) -> Iterator[Problem]:
    own, report = ctx.plan.captions, ctx.report
    if not own.templates:
        return
    wordless = [text for text in own.templates if text not in TEMPLATES and not _has_place(text)]
    if wordless:
        why = f"{WORD} is where the trigger goes, {CAPTION} where a caption goes"
        fix = f"write for example 'a photo of {WORD}', or one of the lists {', '.join(TEMPLATES)}"
        yield Problem("captions.templates", f"{wordless[0]!r} has no place for words", why, fix)
        return
    worded = [text for text in own.rules.all_templates if WORD in text]
    if worded and not (ctx.plan.data.triggers or own.class_word):
        why = f"{worded[0]!r} has a place for them"
        yield Problem("captions.templates", "there are no words to put in", why, "set data.trigger")
        return
    if report is None or not report.items:
        return
    captioned = report.counts.captioned
    for_captioned = any(CAPTION in text for text in own.rules.all_templates)
    if captioned == report.counts.images and not for_captioned:
        why = "every picture has a caption of its own, and the phrases are for those without"
        fix = f"write {CAPTION} into a phrase, for pictures with a caption, or leave them out"
        yield warning("captions.templates", "changes nothing", why, fix)
    elif not captioned and all(CAPTION in text for text in own.rules.all_templates):
        why = "no picture has a caption, and the phrases are for those with one"
        yield warning("captions.templates", "changes nothing", why, f"write {WORD} for {CAPTION}")


def _has_place(text: str) -> bool:
    return WORD in text or CAPTION in text


def class_word(ctx: Context) -> Iterator[Problem]:
    own, report = ctx.plan.captions, ctx.report
    if not own.class_word:
        return
    if not ctx.plan.data.triggers:
        why = "it says what the trigger is one of, and there is no trigger"
        yield warning("captions.class_word", "stands alone", why, "set data.trigger")
        return
    if report is None or not report.items or report.counts.captioned < report.counts.images:
        return
    if not any(CAPTION in text and WORD in text for text in own.rules.all_templates):
        why = "every picture has a caption of its own, which says it"
        yield warning("captions.class_word", "changes nothing", why, "leave it out")


def wildcards(ctx: Context) -> Iterator[Problem]:
    own, report = ctx.plan.captions, ctx.report
    if report is None or not report.items:
        return
    first = next((item for item in report.items if _wild(item.caption, item.choices)), None)
    if own.wildcards and first is None:
        why = "no caption has anything of the form {a|b}"
        yield warning("captions.wildcards", "changes nothing", why, "write some, or turn it off")
    elif first is not None and not own.wildcards:
        why = "the braces are trained on as they stand"
        fix = "set captions.wildcards = true to draw one side at each step"
        yield warning("captions.wildcards", f"{first.rel} has wildcards such as {{a|b}}", why, fix)


def _wild(caption: str, choices: tuple[tuple[str, float], ...]) -> bool:
    return has_wildcard(caption) or any(has_wildcard(text) for text, _ in choices)


def tags(ctx: Context) -> Iterator[Problem]:
    own, report = ctx.plan.captions, ctx.report
    shuffled = any(each.shuffle_tags for each in ctx.plan.data.picture_sets)
    if own.protected_tags and not own.tag_dropout:
        why = "captions.tag_dropout is 0, so no tag is left out"
        yield warning("captions.protected_tags", "changes nothing", why, "set captions.tag_dropout")
    if report is None or not report.items or not (own.tag_dropout or shuffled):
        return
    if not any("," in text for item in report.items for text in _texts(item.caption, item.choices)):
        key = "captions.tag_dropout" if own.tag_dropout else "data.shuffle_tags"
        why = "no caption has commas, which is what divides tags"
        yield warning(key, "changes nothing", why, "leave it out, or write captions as tags")


def _texts(caption: str, choices: tuple[tuple[str, float], ...]) -> list[str]:
    return [caption, *(text for text, _ in choices)]


def separators(ctx: Context) -> Iterator[Problem]:
    own = ctx.plan.captions
    marks = {
        "keep_separator": own.keep_separator.strip(),
        "secondary_separator": own.secondary_separator.strip(),
    }
    for name, mark in marks.items():
        if "," in mark:
            why = "commas divide the tags themselves"
            yield Problem(f"captions.{name}", f"{mark!r} has a comma", why, "take a mark such as ||| or ;;;")
    if marks["keep_separator"] and marks["keep_separator"] == marks["secondary_separator"]:
        why = "captions.keep_separator is the same mark, and means something else"
        yield Problem("captions.secondary_separator", "is taken", why, "take another mark, such as ;;;")


RULES: tuple[Rule, ...] = (weights, several, templates, class_word, wildcards, tags, separators)

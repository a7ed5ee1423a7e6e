"""The captions that a picture may be shown with: those it has, with trigger, template, prefix and suffix in place."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.dataset.caption_draws import plain
from engine.dataset.caption_rules import CAPTION, WORD, CaptionRules
from engine.dataset.captions import PLACEHOLDER, TriggerMode, has_trigger, with_trigger
from engine.dataset.names import nfc
from engine.dataset.sidecars import Caption

Choices = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """`caption` is what is shown of a picture's words; `choices` are all that a draw may see with their weights, empty
    where that is the caption as it stands. `source` is where it is from, `own` how many captions the picture has."""

    caption: str
    source: str
    choices: Choices = ()
    own: int = 0


def compose(found: Sequence[Caption], trigger: str, mode: TriggerMode, rules: CaptionRules) -> Composed:
    """What is trained on of the captions that were found of a picture, in their order."""
    own = _own(found, rules)
    trigger = nfc(trigger)
    # A trigger that is written into prefix or suffix stands in each caption already.
    ends = f"{rules.prefix} {rules.suffix}".strip() if trigger else ""
    around = bool(ends) and has_trigger(ends, trigger)
    if own:
        texts = [
            (text, weight)
            for each, weight in own
            for text, weight in _captioned(each, weight, trigger, rules)
        ]
        mode = "keep" if around else mode
        texts = [(with_trigger(text, trigger, mode), weight) for text, weight in texts]
        source = next(caption.source for caption in _sources(found, rules))
    else:
        word = " ".join(part for part in ("" if around else trigger, nfc(rules.class_word)) if part)
        templates = [one for one in rules.all_templates if CAPTION not in one] if word else []
        texts = [(one.replace(WORD, word), 1.0) for one in templates] or [(word, 1.0)]
        source = "trigger" if trigger else ""
    texts = [(rules.around(text), weight) for text, weight in texts]
    caption = plain(texts[0][0], rules)
    alone = len(texts) == 1 and texts[0][0] == caption
    return Composed(caption, source, () if alone else tuple(texts), len(own))


def _own(found: Sequence[Caption], rules: CaptionRules) -> list[tuple[str, float]]:
    """The picture's own captions that may be drawn, each with its weight; empty where it has none."""
    parts = [part for caption in _sources(found, rules) for part in _parts(caption, rules)]
    if rules.several == "one" or len(parts) == 1:
        return [(text, 1.0) for text, _ in parts[:1]]
    given = [*rules.weights, *[1.0] * len(parts)]
    weighed = [(text, weight * own) for (text, own), weight in zip(parts, given, strict=False)]
    return [(text, weight) for text, weight in weighed if weight > 0] or [(parts[0][0], 1.0)] if parts else []


def _sources(found: Sequence[Caption], rules: CaptionRules) -> list[Caption]:
    """An empty file says that the picture has no caption, unless all of its files count."""
    asked = found if rules.several in ("files", "all") else found[:1]
    return [caption for caption in asked if caption.text]


def _parts(caption: Caption, rules: CaptionRules) -> Sequence[tuple[str, float]]:
    return caption.parts if caption.parts and rules.several in ("lines", "all") else ((caption.text, 1.0),)


def _captioned(text: str, weight: float, trigger: str, rules: CaptionRules) -> list[tuple[str, float]]:
    """The caption in each template that has a place for it; their weights add up to the caption's own."""
    templates = [one for one in rules.all_templates if CAPTION in one]
    if not templates:
        return [(text, weight)]
    word = " ".join(part for part in (trigger, nfc(rules.class_word)) if part)
    own = text.replace(PLACEHOLDER, trigger)
    return [(one.replace(CAPTION, own).replace(WORD, word), weight / len(templates)) for one in templates]

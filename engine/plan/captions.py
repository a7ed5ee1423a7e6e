"""The plan's table [captions]: what each picture's caption is made of, and how much of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from engine.dataset.caption_rules import CaptionRules, Several
from engine.plan.fields import Section, option


class Captions(Section):
    """What a picture's caption is made of, and how much of it is read."""

    folder: str = option(
        "",
        "folder of captions in files with the pictures' names, such as sdtrain caption writes; they come before those "
        "beside the pictures",
        advanced=True,
    )
    several: Several = option(
        "one",
        "which captions of a picture are drawn from: one (the first that is found), lines (each line of its file), "
        "files (each file and table that has one), all (both)",
        advanced=True,
    )
    weights: list[float] = option(
        [],
        "how often a picture's first, second, ... caption is drawn against the others; 1 where none is given",
        advanced=True,
    )
    prefix: str = option("", "put before each caption; stays in front when tags are shuffled", advanced=True)
    suffix: str = option("", "put behind each caption; stays there when tags are shuffled", advanced=True)
    class_word: str = option(
        "", "what the trigger is one of, such as dog: stands behind it where a picture has no caption"
    )
    templates: list[str] = option(
        [],
        "phrases of which one is drawn: {} is the trigger with its class word, for pictures without a caption; one "
        "with {caption} is for pictures with one; subject and style stand for lists of such phrases",
    )
    wildcards: bool = option(False, "of each {a|b} in a caption one side is drawn", advanced=True)
    tag_dropout: float = option(
        0.0, "share of the tags that are left out of a caption, drawn for each tag", ge=0, lt=1, advanced=True
    )
    protected_tags: list[str] = option(
        [], "words whose tags are never left out; triggers are such words anyway", advanced=True
    )
    keep_separator: str = option(
        "",
        "mark in captions, such as |||: tags before it, and behind a second one, are neither shuffled nor left out",
        advanced=True,
    )
    secondary_separator: str = option(
        "", "mark between tags that are moved and left out together, such as ;;;", advanced=True
    )
    max_tokens: Literal[75, 150, 225] = option(
        75,
        "tokens of a caption or prompt that are read, in chunks of 75 as ComfyUI and A1111 read them; the rest is cut",
        unit="tokens",
        advanced=True,
    )

    @property
    def idle(self) -> frozenset[str]:
        found = {"weights"} if self.several == "one" else set()
        return frozenset(found | (set() if self.tag_dropout else {"protected_tags"}))

    @property
    def cache_obstacle(self) -> str:
        """Why a picture's captions are not a few texts that can be encoded once; empty where they are."""
        if self.tag_dropout:
            return "tag dropout makes another caption at every step"
        return "wildcards make another caption at every step" if self.wildcards else ""

    @property
    def rules(self) -> CaptionRules:
        """The table for the scan and the draws."""
        captions = self
        return CaptionRules(
            folder=captions.folder,
            several=captions.several,
            weights=tuple(captions.weights),
            prefix=captions.prefix.strip(),
            suffix=captions.suffix.strip(),
            class_word=captions.class_word.strip(),
            templates=tuple(captions.templates),
            wildcards=captions.wildcards,
            tag_dropout=captions.tag_dropout,
            protected_tags=tuple(captions.protected_tags),
            keep_separator=captions.keep_separator.strip(),
            secondary_separator=captions.secondary_separator.strip(),
            max_tokens=captions.max_tokens,
        )


def own_captions(answers: Mapping[str, object]) -> Captions:
    """The table as dotted answers give it; of answers that it does not take the usual one."""
    own = {key.partition(".")[2]: value for key, value in answers.items() if key.startswith("captions.")}
    try:
        return Captions.model_validate(own)
    except ValidationError:
        return Captions()

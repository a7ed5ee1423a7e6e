"""The plan's table [captions]: what each picture's caption is made of, and how much of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from engine.dataset.caption_rules import CaptionRules
from engine.plan.fields import Section, option


class Captions(Section):
    """What a picture's caption is made of, and how much of it is read."""

    max_tokens: Literal[75, 150, 225] = option(
        75,
        "tokens of a caption or prompt that are read, in chunks of 75 as ComfyUI and A1111 read them; the rest is cut",
        unit="tokens",
        advanced=True,
    )

    @property
    def rules(self) -> CaptionRules:
        """What the table says, for the scan and the draws."""
        return CaptionRules(max_tokens=self.max_tokens)


def own_captions(answers: Mapping[str, object]) -> Captions:
    """The table as dotted answers give it; of answers that it does not take the usual one."""
    own = {key.partition(".")[2]: value for key, value in answers.items() if key.startswith("captions.")}
    try:
        return Captions.model_validate(own)
    except ValidationError:
        return Captions()

"""The plan's table [base]: the model that is taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engine.models.prediction import EPSILON
from engine.models.specs import FAMILIES
from engine.plan.fields import Section, option

if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[("auto", *FAMILIES)]


class Base(Section):
    """The model that is taught."""

    model: str = option(..., "builtin:NAME, a diffusers folder, a .safetensors file, or a hub id")
    family: FamilyName = option("auto", "model family; auto reads it from the weights")
    prediction: Literal["auto", "epsilon", "v_prediction"] = option(
        "auto", "what the UNet predicts; auto reads it from the files, which may not say", advanced=True
    )
    zero_terminal_snr: bool = option(
        False,
        "end the noise schedule without any signal, for true blacks and whites; the model has to predict v",
        advanced=True,
    )
    tokenizer: str | None = option(
        None,
        "CLIP's vocabulary, which a single file lacks: a tokenizer folder, a ComfyUI or A1111 folder, or a file",
        advanced=True,
    )
    vae: str | None = option(None, "another VAE: a diffusers folder or file", advanced=True)
    clip_skip: int = option(
        1,
        "SD 1.x: which layer of the text encoder is read, counted from its end; anime models are made for 2",
        ge=1,
        le=12,
        advanced=True,
    )
    allow_download: bool = option(
        False,
        "may the hub be asked for a model or tokenizer that is not on this machine?",
        advanced=True,
        on_resume="where files come from changes nothing in them",
    )

    @property
    def idle(self) -> frozenset[str]:
        return idle_of(self.family, self.prediction)


def idle_of(family: str, prediction: str) -> frozenset[str]:
    """Fields that have no effect on a base of this family that predicts this; none for a name that is no family's."""
    if family not in FAMILIES:
        return frozenset({"zero_terminal_snr"}) if prediction == EPSILON else frozenset()
    provides = FAMILIES[family].provides
    needs = {
        "clip_skip": "clip_skip" in provides,
        "zero_terminal_snr": "snr" in provides and prediction != EPSILON,
    }
    return frozenset(name for name, there in needs.items() if not there)

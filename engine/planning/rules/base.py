"""Rules about the base model."""

from __future__ import annotations

from collections.abc import Iterator

from engine.cost.counts import part_config
from engine.errors import UserError
from engine.installing import hub_download
from engine.models.bases import tokenizer_folder
from engine.models.specs import FAMILIES
from engine.models.tokenizer_folder import how_to_get
from engine.models.vae_source import check_vae
from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule


def known_family(ctx: Context) -> Iterator[Problem]:
    base = ctx.base
    if base is None or not base.family or base.family in FAMILIES:
        return
    known = ", ".join(spec.title for spec in FAMILIES.values())
    yield Problem(
        "base.model", f"is {base.title}", f"this version trains {known}", "choose another base model"
    )


def same_family(ctx: Context) -> Iterator[Problem]:
    base, asked = ctx.base, ctx.plan.base.family
    if base is None or not base.family or asked in ("auto", base.family):
        return
    yield Problem(
        "base.family",
        f"says {asked}, and the model is {base.family}",
        "; ".join(base.reasons),
        'set it to "auto"',
    )


def whole_model(ctx: Context) -> Iterator[Problem]:
    base = ctx.base
    if base is not None and base.variant != "base":
        why = "its UNet also takes a mask and a masked picture, which this training does not give it"
        yield Problem(
            "base.model", f"is an {base.variant} model", why, "choose the model that it was made from"
        )
    if base is not None and base.kind == "hub" and base.path is None:
        fix = f"to see it before: {hub_download(base.model)}"
        yield warning("base.model", "is downloaded when the run starts", "only then can it be looked at", fix)


def tokenizer(ctx: Context) -> Iterator[Problem]:
    base, given = ctx.base, ctx.plan.base.tokenizer
    if base is None or base.path is None or tokenizer_folder(base, given) is not None:
        return
    if given:
        yield Problem("base.tokenizer", f"{given} has no tokenizer", "vocab.json or merges.txt is missing",
                      "give the tokenizer folder of a diffusers model")  # fmt: skip
        return
    if ctx.plan.base.allow_download:
        why = "a single file carries none, and CLIP's is nowhere on this machine"
        yield warning(
            "base.tokenizer", "is downloaded when the run starts", why, f"to have it before: {how_to_get()}"
        )
        return
    yield Problem(
        "base.tokenizer",
        "no tokenizer is there for this model",
        "a single file carries none, and CLIP's is in no cached model, package or program that was found here",
        how_to_get(),
    )


def lacking_parts(ctx: Context) -> Iterator[Problem]:
    if ctx.base is not None and "vae" in ctx.base.lacks and not ctx.plan.base.vae:
        why = "pictures are encoded by it before they are trained on"
        fix = "name a VAE of the same family: a file, or a diffusers folder"
        yield Problem("base.vae", "is needed: the model comes without a VAE of its own", why, fix)


def other_vae(ctx: Context) -> Iterator[Problem]:
    vae, family = ctx.plan.base.vae, ctx.family
    if not vae or family is None:
        return
    # A denoiser that learns from nothing learns whatever latents it is given.
    fresh = "fresh_denoiser" in ctx.spec.requires
    scaling = None if fresh else part_config(ctx.base, family.name, "vae").get("scaling_factor", 0.18215)
    try:
        check_vae(family, vae, scaling)
    except UserError as error:
        yield Problem("base.vae", error.what.removeprefix("base.vae: "), error.why, error.fix)


def clip_skip(ctx: Context) -> Iterator[Problem]:
    skip, family = ctx.plan.base.clip_skip, ctx.family
    if skip == 1 or family is None:
        return
    if "clip_skip" not in family.provides:
        why = f"{family.title} reads the layer that it was trained with, and so do the programs that draw with it"
        yield Problem("base.clip_skip", f"{skip} does not go with {family.title}", why, "leave it out")
        return
    layers = int(part_config(ctx.base, family.name, family.text_parts[0]).get("num_hidden_layers", 12))
    if skip > layers:
        what = f"{skip} is more than the text encoder has layers"
        yield Problem("base.clip_skip", what, f"it has {layers}", "set 2, or leave it out")


RULES: tuple[Rule, ...] = (
    known_family,
    same_family,
    whole_model,
    lacking_parts,
    tokenizer,
    clip_skip,
    other_vae,
)

"""Rules about what the model predicts, and where its noise schedule ends."""

from __future__ import annotations

from collections.abc import Iterator

from engine.models.prediction import EPSILON, VELOCITY
from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule


def prediction(ctx: Context) -> Iterator[Problem]:
    if ctx.base is not None and ctx.base.doubt and ctx.plan.base.prediction == "auto":
        fix = 'set it to "epsilon" or "v_prediction": the page that the model comes from says which'
        yield Problem(
            "base.prediction", "must be set: what the model predicts cannot be told", ctx.base.doubt, fix
        )
        return
    guess = next((text for text in ctx.base.reasons if ": guessed" in text), "") if ctx.base else ""
    if guess and ctx.plan.base.prediction == "auto":
        fix = 'set it to "epsilon" (SD 2.x base, 512 px) or "v_prediction" (768 px) where you know'
        yield warning("base.prediction", "is a guess: a wrong one teaches the model noise", guess, fix)


def changed_prediction(ctx: Context) -> Iterator[Problem]:
    """A base whose own files say that it predicts something else."""
    base, asked = ctx.base, ctx.plan.base.prediction
    if (
        base is None
        or base.doubt
        or asked in ("auto", base.prediction)
        or "fresh_denoiser" in ctx.spec.requires
    ):
        return
    said = next((text for text in base.reasons if text.startswith(f"prediction type {base.prediction}")), "")
    if said:
        why = (
            f"{said}; it has to learn anew what to answer, which takes thousands of steps of all its weights"
        )
        fix = 'set "auto", unless you mean to turn the model over; what is exported goes with such a model alone'
        yield warning("base.prediction", f"{asked} is not what this model predicts", why, fix)


def zero_terminal_snr(ctx: Context) -> Iterator[Problem]:
    key, plan, base = "base.zero_terminal_snr", ctx.plan, ctx.base
    if not plan.base.zero_terminal_snr:
        return
    if "fresh_denoiser" in ctx.spec.requires:
        fix = f"set {plan.method}.zero_terminal_snr in its place"
        yield Problem(
            key, f"does not go with {ctx.spec.title}", "it makes a denoiser with its own schedule", fix
        )
        return
    if ctx.family is not None and "snr" not in ctx.family.provides:
        why = "its noise schedule ends in noise alone by itself"
        yield Problem(key, f"does not go with {ctx.family.title}", why, "leave it out")
        return
    asked = plan.base.prediction
    predicts = (base.prediction if base is not None else "") if asked == "auto" else asked
    if predicts == EPSILON:
        why = (
            "where no signal is left, the noise is known already and nothing can be learnt from predicting it"
        )
        fix = (
            f'leave it out; base.prediction = "{VELOCITY}" turns the model over, which takes a long training'
        )
        yield Problem(key, "does not go with epsilon", why, fix)
    elif plan.objective.offsets_noise or plan.objective.pyramid_noise:
        name = "pyramid_noise" if plan.objective.pyramid_noise else "noise_offset"
        why = (
            "the last timestep is pure noise, and learns darks and lights by itself; both together overshoot"
        )
        yield warning(f"objective.{name}", "is not needed with zero terminal SNR", why, "set 0")


def guidance_rescale(ctx: Context) -> Iterator[Problem]:
    samples = ctx.plan.samples
    if samples.guidance_rescale and samples.guidance <= 1:
        what = f"{samples.guidance_rescale:g} changes nothing"
        why = f"samples.guidance is {samples.guidance:g}, which is no guidance"
        yield warning("samples.guidance_rescale", what, why, "leave it out")


RULES: tuple[Rule, ...] = (prediction, changed_prediction, zero_terminal_snr, guidance_rescale)

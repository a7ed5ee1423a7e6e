"""Rules about the objective: noise, timesteps and the weights of the loss."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plan.objective import READ_WITH, Band, Objective, bands_of
from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule

EXAMPLE = '"0-249:0.5, 750-999:2"'
# Of a noise offset: pictures turn too dark or bright above 0.1; of a perturbation: the paper's best is 0.1.
MOST_OFFSET, MOST_PERTURBATION = 0.2, 0.3


def timesteps(ctx: Context) -> Iterator[Problem]:
    objective = ctx.plan.objective
    if objective.min_timestep >= objective.max_timestep:
        why = f"objective.max_timestep is {objective.max_timestep}, so no timestep is left to train"
        yield Problem("objective.min_timestep", f"{objective.min_timestep} is too high", why, "set 0 and 999")


def bands(ctx: Context) -> Iterator[Problem]:
    objective, key = ctx.plan.objective, "objective.band_weights"
    try:
        found = bands_of(objective.band_weights)
    except ValueError as error:
        what = f"{objective.band_weights!r} cannot be read"
        yield Problem(key, what, str(error), f"write spans of timesteps and their weights, such as {EXAMPLE}")
        return
    low, high = objective.min_timestep, objective.max_timestep
    for band in found:
        if band.high < low or band.low > high:
            why = f"timesteps are drawn from {low} to {high}"
            yield warning(key, f"{band.low}-{band.high} changes nothing", why, "leave it out")
    if found and _all_silent(found, low, high):
        why = "every timestep that is trained weighs 0"
        yield Problem(key, "nothing would be learnt", why, "give one of them more than 0")


def _all_silent(found: tuple[Band, ...], low: int, high: int) -> bool:
    """Do bands without weight cover all of the span?"""
    for band in found:
        if band.weight == 0 and band.low <= low:
            low = max(low, band.high + 1)
    return low > high


def of_snr(ctx: Context) -> Iterator[Problem]:
    if ctx.family is None or "snr" in ctx.family.provides:
        return
    why = "its noise schedule has no signal-to-noise ratio to go by"
    for name, other in ctx.plan.objective.of_snr.items():
        yield Problem(f"objective.{name}", f"does not go with {ctx.family.title}", why, f"set {other}")


def one_weighting(ctx: Context) -> Iterator[Problem]:
    objective = ctx.plan.objective
    if objective.weighting != "none" and objective.min_snr_gamma > 0:
        what = f"{objective.weighting} does not go with min-SNR"
        why = f"objective.min_snr_gamma is {objective.min_snr_gamma:g}, and both weigh the loss by the SNR"
        yield Problem("objective.weighting", what, why, 'set "none", or objective.min_snr_gamma = 0')


def unread(ctx: Context) -> Iterator[Problem]:
    objective, defaults = ctx.plan.objective, Objective()
    for name in sorted(objective.idle):
        value = getattr(objective, name)
        if value != getattr(defaults, name):
            shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
            why = f"it is read with {READ_WITH[name]}"
            fix = f"set {READ_WITH[name]}, or leave it out"
            yield warning(f"objective.{name}", f"{shown} changes nothing", why, fix)


def noise(ctx: Context) -> Iterator[Problem]:
    objective = ctx.plan.objective
    if objective.noise_offset > MOST_OFFSET:
        why = "above 0.1 pictures tend to turn too dark or too bright"
        what = f"{objective.noise_offset:g} is a lot"
        yield warning("objective.noise_offset", what, why, "set 0.05 or 0")
    if objective.input_perturbation > MOST_PERTURBATION:
        why = "the model sees latents that are noisier than it is told; recipes take 0.1"
        what = f"{objective.input_perturbation:g} is a lot"
        yield warning("objective.input_perturbation", what, why, "set 0.1 or 0")
    if objective.pyramid_noise and objective.offsets_noise:
        why = "the coarsest level is an offset of its own, so that darks and lights would be pushed twice"
        fix = "set 0, or objective.noise_offset = 0 and objective.adaptive_noise_offset = 0"
        yield Problem("objective.pyramid_noise", "does not go with a noise offset", why, fix)
    if objective.adaptive_noise_offset < 0 and objective.noise_offset == 0:
        why = "below 0 it makes objective.noise_offset smaller, and that is 0"
        what = f"{objective.adaptive_noise_offset:g} changes nothing"
        yield warning("objective.adaptive_noise_offset", what, why, "set objective.noise_offset, or 0")


RULES: tuple[Rule, ...] = (timesteps, bands, of_snr, one_weighting, unread, noise)

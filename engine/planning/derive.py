"""What follows from the answers and the facts: each rule looks at the builder of a plan and adds values to it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from engine.cost.disk import file_sizes
from engine.cost.estimate import estimate
from engine.cost.model_size import ModelSize
from engine.models.specs import FAMILIES, USUAL
from engine.plan.methods import METHODS
from engine.plan.methods.context import Derived
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.optimizers.base import rounded
from engine.plan.schema import Plan
from engine.plan.units import size_text
from engine.planning.builder import PlanBuilder, Rule
from engine.planning.epochs import STEPS_OF, asked, updates
from engine.planning.ladder import CHEAP, changed, closed_to, fit, reason
from engine.planning.presets import preset

# How often each picture should be seen, and the bounds of the updates: ai-toolkit's examples take 2000 steps
# of one picture (500 to 4000) for sets of about 20.
SEEN, FEWEST_STEPS, MOST_STEPS = 100, 500, 4000
MOST_REPEATS = 8
# Above this share of pictures that are drawn twice to fill a bucket's last batch, an epoch is made longer.
FILL_SHARE = 0.2
# What a forecast may take of a card before memory is saved.
VRAM_SHARE = 0.9
SAVING = "hardware.gradient_checkpointing"
# Embedded captions beyond this are made anew for each batch: 36,000 of SD 1.x, 13,000 of SDXL. A text encoder takes
# some 0.02 TFLOP a caption (SD 1.x; SDXL 0.13), the UNet 2.4 TFLOP a picture forward and back (SDXL at 1024 px: 18).
MOST_CAPTION_BYTES = 8 << 30
# kohya's SDXL recipe warms up over 100 steps.
WARMUP = 100
LONGEST_BETWEEN = 500
# Files of up to this size are kept of every checkpoint, so that the best step can be picked afterwards.
LIGHT = 200 * 10**6


def _preset(builder: PlanBuilder) -> Iterator[Derived]:
    base = builder.facts.base
    # A family that is not trained here gets the usual one's values: the check refuses it by name.
    family = base.family if base is not None and base.family in FAMILIES else USUAL
    found = preset(builder.method, family, builder.facts.tiny, builder.facts.vram_gb)
    for key, value in found.values.items():
        yield Derived(key, value, f"preset {found.why}: {found.sources[key]}")


def _optimizer(builder: PlanBuilder) -> Iterator[Derived]:
    spec = OPTIMIZERS.get(str(builder.values.get("optimizer.name")))
    if spec is None:
        return
    if spec.learning_rate is not None:
        yield Derived("train.learning_rate", spec.learning_rate, spec.learning_rate_why)
    elif spec.rates[1] != 1 and (usual := builder.values.get("train.learning_rate")) is not None:
        middle = math.sqrt(spec.rates[0] * spec.rates[1])
        yield Derived("train.learning_rate", rounded(float(str(usual)) * middle), spec.rates_source)
    for key, value in spec.values.items():
        yield Derived(key, value, f"what {spec.title} goes with")


def _updates(builder: PlanBuilder) -> Iterator[Derived]:
    if builder.values.get("hardware.fused_backward") == "weights":
        yield Derived("train.clip_norm", 0.0, "weights change before the norm of all gradients is known")
    if builder.values.get("train.weights") == "bf16":
        yield Derived("train.precision", "bf16", "bf16 weights are computed with in bf16")


def _name(builder: PlanBuilder) -> Iterator[Derived]:
    folder = builder.given.get("data.path") or _first_set(builder)
    place = Path(folder).expanduser().absolute() if isinstance(folder, str) and folder else Path("run")
    plain = (
        re.sub(r"[^A-Za-z0-9_-]+", "-", place.stem if place.is_file() else place.name).strip("-_")[:60]
        or "run"
    )
    yield Derived("name", f"{plain}-{builder.method.replace('_', '-')}", "the folder and the method")


def _first_set(builder: PlanBuilder) -> object:
    sets = builder.given.get("data.sets")
    return sets[0].get("path") if isinstance(sets, list) and sets and isinstance(sets[0], dict) else None


def _resolution(builder: PlanBuilder) -> Iterator[Derived]:
    base = builder.facts.base
    if base is not None:
        yield Derived("data.resolution", base.native_resolution, f"what {base.title} was made for")


def _batch(builder: PlanBuilder) -> Iterator[Derived]:
    size, pictures = builder.whole("train.batch_size"), builder.facts.pictures
    if 0 < pictures < size:
        yield Derived("train.batch_size", pictures, "no more than there are pictures")


def _repeats(builder: PlanBuilder) -> Iterator[Derived]:
    report, size = builder.facts.report, builder.whole("train.batch_size")
    if report is None or not report.buckets or builder.values.get("data.sets"):
        return

    def filled(repeats: int) -> float:
        counts = [count * repeats for count in report.buckets.values()]
        return sum(-count % size for count in counts) / sum(counts)

    chosen = next(
        (count for count in range(1, MOST_REPEATS + 1) if filled(count) <= FILL_SHARE), MOST_REPEATS
    )
    if chosen > 1:
        why = (
            f"with {len(report.buckets)} buckets and batches of {size}, so that few pictures are drawn twice"
        )
        yield Derived("data.repeats", chosen, why)


def _folder_name(builder: PlanBuilder) -> Iterator[Derived]:
    found = builder.facts.named
    if found is None:
        return
    why = f"the folder's name, {found.name}, in the form of kohya's scripts"
    yield Derived("data.trigger", found.words, why)
    if found.repeats > 1:
        yield Derived("data.repeats", found.repeats, why)


def _layout(builder: PlanBuilder) -> Iterator[Derived]:
    found = builder.facts.layout
    if found is not None:
        tables = [one.model_dump(exclude_defaults=True) for one in found.placed()]
        yield Derived("data.sets", tables, found.what)


def _steps(builder: PlanBuilder) -> Iterator[Derived]:
    pictures = builder.facts.pictures
    if builder.facts.tiny or not pictures or "train.steps" in builder.derived:
        return  # the preset of a method with a length of its own has said it
    effective = builder.whole("train.batch_size") * builder.whole("train.gradient_accumulation")
    wanted = -(-SEEN * pictures // effective)
    epoch = -(-pictures // effective)
    steps = max(min(max(wanted, FEWEST_STEPS), MOST_STEPS), epoch)
    times = steps * effective / pictures
    bound = "" if steps == wanted else f", kept between {FEWEST_STEPS} and {MOST_STEPS} steps"
    bound = ", more than the usual steps so that none is left out" if steps > MOST_STEPS else bound
    yield Derived("train.steps", steps, f"{pictures} pictures, each seen about {times:,.0f} times{bound}")


def _epochs(builder: PlanBuilder) -> Iterator[Derived]:
    """What the answers say in epochs, in steps; after whatever may cut batches into pieces once more."""
    plan, report = builder.plan(), builder.facts.report
    if plan is None or report is None or not report.items:
        return
    for key, epochs in asked(plan).items():
        steps = updates(plan, report, epochs)
        yield Derived(STEPS_OF[key], steps, f"{epochs:g} epochs of {updates(plan, report, 1):,} steps")


def _own(builder: PlanBuilder) -> Iterator[Derived]:
    """What the method itself derives."""
    return METHODS[builder.method].options.derive(builder)


def _warmup(builder: PlanBuilder) -> Iterator[Derived]:
    if "train.warmup" in builder.derived:
        return
    steps = builder.whole("train.steps")
    warmup = min(WARMUP, steps // 20)
    if warmup:
        yield Derived("train.warmup", warmup, f"a twentieth of {steps} steps, {WARMUP} at most")


def _prompts(builder: PlanBuilder) -> Iterator[Derived]:
    report = builder.facts.report
    if report is None:
        return
    count = builder.whole("samples.count")
    distinct = list(dict.fromkeys(item.caption for item in report.items if item.caption))
    if distinct:
        yield Derived("samples.prompts", distinct[:count], "the first captions of the data set that differ")


def _intervals(builder: PlanBuilder) -> Iterator[Derived]:
    steps = builder.whole("train.steps")
    most = builder.whole("samples.every")
    if most > max(1, steps // 4):
        yield Derived("samples.every", max(1, steps // 4), "at least four rounds of previews")
    if "checkpoints.every" in builder.derived:
        return
    every = max(1, min(LONGEST_BETWEEN, steps // 4))
    yield Derived("checkpoints.every", every, f"a quarter of {steps} steps, {LONGEST_BETWEEN} at most")


def _fit(builder: PlanBuilder) -> Iterator[Derived]:
    """What a plan that is over its card gives up, the cheapest first; nothing where the answers say that it may not."""
    facts, plan = builder.facts, builder.plan()
    if plan is None or not facts.vram_gb or plan.hardware.fit == "off":
        return
    card = int(facts.vram_gb * 2**30)
    kept = frozenset(builder.given) | closed_to(facts.machine.gpu_for(plan.hardware.device))
    # Presets set gradient checkpointing for their cards; whether it is needed is seen once all else is decided.
    start = plan if SAVING in kept else changed(plan, {SAVING: False}) or plan
    found = fit(start, lambda made: _cost(builder, made), int(VRAM_SHARE * card), kept)
    if found.cost > VRAM_SHARE * card or not all(choice.rung in CHEAP for choice in found.choices):
        found = fit(start, lambda made: _cost(builder, made), card, kept)
    # What gives nothing up for a fit is left as it was: the check says what would fit.
    for choice in found.choices if found.cost <= card else ():
        why = reason(choice, card)
        for key, value in choice.changes.items():
            if key != SAVING:
                yield Derived(key, value, why)


def _gradient_checkpointing(builder: PlanBuilder) -> Iterator[Derived]:
    facts, plan = builder.facts, builder.plan()
    if plan is None or not facts.vram_gb or plan.hardware.fit == "off":
        return
    cost, card = _cost(builder, changed(plan, {SAVING: False}) or plan), facts.vram_gb * 2**30
    why = f"about {size_text(cost)} without it, on a card of {size_text(card)}"
    yield Derived(SAVING, cost > VRAM_SHARE * card, why)


def _cost(builder: PlanBuilder, plan: Plan) -> int:
    facts = builder.facts
    return estimate(plan, facts.base, facts.report, facts.machine).vram_total


def _text_cache(builder: PlanBuilder) -> Iterator[Derived]:
    facts, plan = builder.facts, builder.plan()
    if plan is None or facts.report is None or not plan.caches_text or "data.cache_text" in builder.given:
        return
    size = dict(estimate(plan, facts.base, facts.report, facts.machine).disk_parts).get("cached captions", 0)
    if size > MOST_CAPTION_BYTES:
        why = f"all captions would take {size_text(size)}; embedding a batch costs about 1 % of a step"
        yield Derived("data.cache_text", "off", why)


def _formats(builder: PlanBuilder) -> Iterator[Derived]:
    plan = builder.plan()
    if plan is not None:
        yield Derived("output.formats", list(plan.export_formats), "what the usual programs load")


def _export_each(builder: PlanBuilder) -> Iterator[Derived]:
    plan = builder.plan()
    # A lesson on the built-in model shows one file at its end.
    if builder.tiny or plan is None or not 0 < plan.checkpoints.every < plan.train.steps:
        return
    largest = max(file_sizes(plan, ModelSize(plan, builder.facts.base)), default=0)
    if 0 < largest < LIGHT:
        why = f"files of {size_text(largest)} are light: the best step can be picked afterwards"
        yield Derived("checkpoints.export_each", True, why)


# The order matters: a rule reads what the ones before it have put into the builder.
RULES: tuple[Rule, ...] = (
    _preset,
    _optimizer,
    _updates,
    _name,
    _resolution,
    _batch,
    _layout,
    _repeats,
    _folder_name,
    _steps,
    _own,
    _epochs,
    _warmup,
    _prompts,
    _intervals,
    _epochs,
    _fit,
    _gradient_checkpointing,
    _epochs,
    _text_cache,
    _formats,
    _export_each,
)

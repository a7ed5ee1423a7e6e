"""What makes a plan fit a card, in the order of what it costs: the least first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from engine.cost.machine import BF16_FROM, Gpu
from engine.errors import UserError
from engine.models.specs import FAMILIES, USUAL
from engine.plan.files import from_dict, to_dict
from engine.plan.methods.context import Derived
from engine.plan.overrides import put
from engine.plan.schema import Plan
from engine.plan.units import size_text

Changes = Mapping[str, object]
"""Values by dotted key."""
LEAST_SAVED = 0.01
"""A step that saves less than this share of the card is left out."""


@dataclass(frozen=True)
class Rung:
    """One way to need less memory. `steps` gives changes of a plan, each saving more than the one before; none where
    it does not apply. `exact`: what is learned stays as it is, but for the order in which gradients are added up."""

    name: str
    price: str
    steps: Callable[[Plan], Iterator[Changes]]
    exact: bool


@dataclass(frozen=True)
class Choice:
    """A rung that was taken, the values that it has set, and what the plan takes with it (bytes)."""

    rung: Rung
    changes: Changes
    cost: int


@dataclass(frozen=True)
class Fitted:
    """A plan that needs less memory, and how it came to that."""

    plan: Plan
    choices: tuple[Choice, ...]
    cost: int


def _idle(plan: Plan) -> Iterator[Changes]:
    if plan.hardware.idle_parts == "keep":
        yield {"hardware.idle_parts": "cpu"}


def _tiles(plan: Plan) -> Iterator[Changes]:
    if plan.hardware.vae_tiling in ("auto", "off") and plan.samples.every:
        yield {"hardware.vae_tiling": "decode"}


def _checkpointing(plan: Plan) -> Iterator[Changes]:
    if not plan.hardware.gradient_checkpointing:
        yield {"hardware.gradient_checkpointing": True}
    elif plan.hardware.checkpointed_blocks:
        yield {"hardware.checkpointed_blocks": 0}


def _pieces(plan: Plan) -> Iterator[Changes]:
    size, effective = plan.train.batch_size, plan.train.batch_size * plan.train.gradient_accumulation
    for less in (count for count in range(size - 1, 0, -1) if effective % count == 0):
        yield {"train.batch_size": less, "train.gradient_accumulation": effective // less}


def _small_state(plan: Plan) -> Iterator[Changes]:
    if plan.optimizer.name == "adamw" and find_spec("bitsandbytes") is not None:
        yield {"optimizer.name": "adamw8bit"}


def _half_weights(plan: Plan) -> Iterator[Changes]:
    if plan.hardware.device != "cpu":
        yield {"train.weights": "bf16", "train.precision": "bf16"}


def _factored_state(plan: Plan) -> Iterator[Changes]:
    if plan.optimizer.name in ("adamw", "adamw8bit"):
        yield {"optimizer.name": "adafactor"}


def _fused(plan: Plan) -> Iterator[Changes]:
    if plan.train.gradient_accumulation == 1 and not _class_pictures(plan):
        yield {"hardware.fused_backward": "groups"}
        yield {"hardware.fused_backward": "weights", "train.clip_norm": 0.0}


def _quantised(plan: Plan) -> Iterator[Changes]:
    if _trains_base(plan) or getattr(plan.options, "dora", False):
        return
    if plan.hardware.base_weights == "full":
        yield {"hardware.base_weights": "int8"}
    if plan.hardware.base_weights != "nf4" and find_spec("bitsandbytes") is not None:
        yield {"hardware.base_weights": "nf4"}


def _swap(plan: Plan) -> Iterator[Changes]:
    if _trains_base(plan) or plan.hardware.compile:
        return
    for count in (8, 16, 32, 64, 128):
        if count > plan.hardware.swapped_blocks:
            yield {"hardware.swapped_blocks": count}


def _activations(plan: Plan) -> Iterator[Changes]:
    if not (plan.hardware.offload_activations or plan.hardware.compile):
        yield {"hardware.offload_activations": True}


def _one_batch(plan: Plan) -> Iterator[Changes]:
    if not _class_pictures(plan):
        one = {"train.batch_size": 1, "train.gradient_accumulation": 1}
        yield {**one, "hardware.fused_backward": "weights", "train.clip_norm": 0.0}


def _trains_base(plan: Plan) -> bool:
    """Do whole parts of the base train?"""
    family = plan.base.family if plan.base.family in FAMILIES else USUAL
    return bool(plan.options.whole_parts(FAMILIES[family]))


def _class_pictures(plan: Plan) -> bool:
    return plan.data.class_pictures


LADDER: tuple[Rung, ...] = (
    Rung("idle parts", "a copy of the VAE for each preview", _idle, True),
    Rung("tiled decoding", "previews differ by what seams can show", _tiles, True),
    Rung("gradient checkpointing", "a quarter to a third more computation", _checkpointing, True),
    Rung("fewer pictures at once", "the card is used less well; the effective batch stays", _pieces, True),
    Rung("8-bit optimiser states", "moments are rounded to 8 bit", _small_state, False),
    Rung("bf16 weights", "weights keep 3 digits, rounded by chance", _half_weights, False),
    Rung("fused backward", "gradients are clipped in groups, or not at all", _fused, False),
    Rung(
        "factored optimiser states",
        "another optimiser, whose second moment is an estimate",
        _factored_state,
        False,
    ),
    Rung("quantised base", "slower steps, and predictions move a little", _quantised, False),
    Rung("block swap", "each swapped block is copied twice a step", _swap, True),
    Rung(
        "offloaded activations", "what the backward pass needs is copied there and back", _activations, True
    ),
    Rung("one picture an update", "the effective batch shrinks to 1", _one_batch, False),
)
"""The order in which a plan is made to fit."""
SAME_BATCH = LADDER[:-1]
"""What leaves the effective batch as it is."""
CHEAP = LADDER[:4]
"""What is also done to leave some of the card free; the others only for a plan that is over it."""


def reason(choice: Choice, card: int) -> str:
    """Why a plan for that card has a choice's values, and what that costs."""
    there = f"about {size_text(choice.cost)} then, on a card of {size_text(card)}"
    return f"{choice.rung.name} ({there}): {choice.rung.price}"


def told(derived: Iterable[Derived]) -> list[str]:
    """Of a plan's derived values, the reasons that are the ladder's; each once, in the order of their taking."""
    starts = tuple(f"{rung.name} (" for rung in LADDER)
    return list(dict.fromkeys(item.why for item in derived if item.why.startswith(starts)))


def closed_to(gpu: Gpu | None) -> frozenset[str]:
    """Fields that the ladder leaves alone on this card: one that emulates bf16 gets no weights in it."""
    emulates = gpu is not None and (0, 0) < gpu.capability < BF16_FROM
    return frozenset({"train.weights"}) if emulates else frozenset()


def fit(
    plan: Plan,
    cost: Callable[[Plan], int],
    card: int,
    keys: frozenset[str] = frozenset(),
    rungs: Sequence[Rung] = LADDER,
) -> Fitted:
    """Climb until the plan takes `card` bytes at most, then step back from what turned out not to be needed.

    `keys` are fields that may not be changed, `rungs` those that may be taken. Where nothing makes it fit, it is as
    small as it gets.
    """
    now, taken = Fitted(plan, (), cost(plan)), dict[str, Choice]()
    while now.cost > card and (step := _next(now, cost, card, keys, rungs)) is not None:
        made, choice = step
        before = taken.pop(choice.rung.name, None)
        changes = {**(before.changes if before is not None else {}), **choice.changes}
        taken[choice.rung.name] = Choice(choice.rung, changes, choice.cost)
        now = Fitted(made, tuple(taken.values()), choice.cost)
    return _without_needless(plan, now, cost, card)


def _next(
    now: Fitted, cost: Callable[[Plan], int], card: int, keys: frozenset[str], rungs: Sequence[Rung]
) -> tuple[Plan, Choice] | None:
    """The lowest rung's next step that saves enough: one that saved nothing may do so after a higher one."""
    for rung in rungs:
        for changes in rung.steps(now.plan):
            made = None if keys & changes.keys() else changed(now.plan, changes)
            if made is not None and now.cost - (spent := cost(made)) >= LEAST_SAVED * card:
                return made, Choice(rung, changes, spent)
    return None


def _without_needless(plan: Plan, found: Fitted, cost: Callable[[Plan], int], card: int) -> Fitted:
    """Without choices that a later one has made needless, the dearest first."""
    for choice in sorted(found.choices, key=lambda choice: -LADDER.index(choice.rung)):
        rest = tuple(other for other in found.choices if other is not choice)
        fitted = _counted(plan, rest, cost)
        if fitted is not None and fitted.cost <= card:
            found = fitted
    return found


def _counted(plan: Plan, choices: Sequence[Choice], cost: Callable[[Plan], int]) -> Fitted | None:
    """The plan with these choices, each with what it takes after those before it."""
    now: Fitted | None = Fitted(plan, (), cost(plan))
    for choice in choices:
        made = changed(now.plan, choice.changes) if now is not None else None
        if now is None or made is None:
            return None
        spent = cost(made)
        now = Fitted(made, (*now.choices, Choice(choice.rung, choice.changes, spent)), spent)
    return now


def changed(plan: Plan, changes: Changes) -> Plan | None:
    """The plan with other values; none where it does not fit the schema."""
    tables = to_dict(plan)
    for key, value in changes.items():
        put(tables, key, value)
    try:
        return from_dict(tables)
    except UserError:
        return None

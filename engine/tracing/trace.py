"""From a plan to what is kept of its trace."""

from __future__ import annotations

from engine.cost.quantity import Quantity
from engine.cost.traced_plan import TracedPlan
from engine.cost.traced_step import TracedStep
from engine.models.bases import BaseInfo
from engine.plan.schema import Plan
from engine.tracing.counting import Weightless
from engine.tracing.marks import RANK, term
from engine.tracing.model import meta_family
from engine.tracing.moments import peaks
from engine.tracing.phases import trace_decoding, trace_encoding
from engine.tracing.step import MARKED, META, Sides, count_step
from engine.train.settling import settle
from engine.train.setup import AdaptedModel, prepare


def marked(plan: Plan, half: bool) -> Plan:
    """The plan with a rank that is told from all other sides, its precision named, and no file to read."""
    options = plan.options
    changes: dict[str, object] = dict.fromkeys(options.path_fields, "")
    if options.width_field:
        changes[options.width_field] = RANK
    train = plan.train.model_copy(update={"precision": "bf16" if half else "fp32", "weights": "fp32"})
    # What these change of sizes is worked out from the trace without them (engine.cost.memory).
    plain = {"idle_parts": "keep", "base_weights": "full", "swapped_blocks": 0, "offload_activations": False}
    hardware = plan.hardware.model_copy(update=plain)
    parts = {plan.method: options.model_copy(update=changes), "train": train, "hardware": hardware}
    return plan.model_copy(update=parts)


def adapt(plan: Plan, base: BaseInfo | None, family: str) -> AdaptedModel:
    """The plan's model on the meta device, adapted and in the dtypes that training gives it."""
    with Weightless():  # type: ignore[no-untyped-call]
        loaded = meta_family(base, family)
        with META:
            adapted = prepare(plan, loaded, META)
            settle(plan, adapted)
    return adapted


def trace(plan: Plan, base: BaseInfo | None, family: str, half: bool, sides: Sides = MARKED) -> TracedPlan:
    """The counted plan. At the marked sides its quantities are those of every batch, resolution and rank."""
    plan = marked(plan, half)
    adapted = adapt(plan, base, family)
    counter = count_step(plan, adapted, sides)
    step = TracedStep(
        peaks(counter.events, counter.marks["forward"]),
        Quantity(counter.flops),
        Quantity(counter.moved),
        counter.kernels,
    )
    trained = Quantity.total(term(4 * item.parameter.numel()) for item in adapted.trainables)
    return TracedPlan(step, trace_decoding(adapted, sides), trace_encoding(adapted, sides), trained)

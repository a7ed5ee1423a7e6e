"""What to say where a run ran out of memory: only what helps in that phase of that plan."""

from __future__ import annotations

from engine.errors import UserError
from engine.plan.schema import Plan

_OPENING = frozenset({"downloading", "loading", "caching"})


def out_of_memory(plan: Plan, phase: str, host: bool, error: str, then: str) -> UserError:
    """The error of a `phase` (as in phase events); `host` for main memory, `then` what becomes of the run.

    A batch is split down to one sample before an update gives up, and pictures are encoded one at a time, so that
    a smaller batch never helps.
    """
    memory = "main memory" if host else "the device's memory"
    fixes = []
    if phase == "loading":
        fixes += (
            ["use a smaller base model"] if host else ['set train.precision = "auto"', "use a larger card"]
        )
    elif phase == "caching":
        if plan.hardware.vae_tiling != "both":
            fixes.append('set hardware.vae_tiling = "both", which encodes pictures in tiles')
        fixes.append("lower data.resolution")
    elif phase == "exporting":
        fixes += ["export it apart with `sdtrain export`"]
    else:
        if not plan.hardware.gradient_checkpointing:
            fixes.append("set hardware.gradient_checkpointing = true")
        fixes.append("lower data.resolution")
    fixes.append("close other programs that use this memory")
    doing = {"training": "one sample of a batch does not fit", "sampling": "a preview does not fit"}
    what = f"{memory} is used up" + (f" while {phase}" if phase else "")
    why = "; ".join(part for part in (doing.get(phase, ""), error.splitlines()[0] if error else "") if part)
    return UserError(what, why, f"{', or '.join(fixes)}; {then}")

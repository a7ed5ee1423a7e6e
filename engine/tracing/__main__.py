"""`python -m engine.tracing PLAN [KEY=VALUE...]`: trace a plan that no table has, and keep what was counted.

Prints one line of JSON, the file; `sdtrain estimate` runs it, as the command's own process has no torch.
"""

from __future__ import annotations

import gc
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

from engine.cost.machine import machine
from engine.cost.model_size import ModelSize
from engine.cost.numbers import computes_in_half
from engine.cost.traced_rows import kept_at, traits_for
from engine.errors import UserError
from engine.files import make_private, write_atomic
from engine.models.bases import locate
from engine.plan.files import load_plan


def main(arguments: Sequence[str]) -> int:
    """Trace and keep; a plan or base that is wrong is told as JSON."""
    warnings.simplefilter("ignore")
    gc.disable()  # looking for circles takes a third of the time, and none lives longer than this process
    # diffusers would import it where it is installed, which takes a sixth of the time; no layer of a trace is of it.
    sys.modules.setdefault("bitsandbytes", cast(ModuleType, None))
    from engine.tracing.trace import trace

    try:
        plan = load_plan(Path(arguments[0]), list(arguments[1:]))
        base = locate(plan.base.model)
    except UserError as error:
        print(json.dumps({"error": {"what": error.what, "why": error.why, "fix": error.fix}}))
        return 2
    model = ModelSize(plan, base)
    half = computes_in_half(plan, machine())
    path = kept_at(traits_for(plan, model, half))
    make_private(path.parent)
    write_atomic(path, json.dumps(trace(plan, base, model.spec.name, half).to_json()))
    print(json.dumps({"kept": str(path)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

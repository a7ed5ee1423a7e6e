"""Everything about training. The names of the Python API are loaded when they are asked for, so that importing a
part without torch costs nothing; their types stand in __init__.pyi."""

from __future__ import annotations

_NAMES = {
    "Plan": ("engine.plan.schema", "Plan"),
    "StepReport": ("engine.train.loop", "StepReport"),
    "Training": ("engine.train.training", "Training"),
    "UserError": ("engine.errors", "UserError"),
    "Watch": ("engine.train.watch", "Watch"),
    "build_plan": ("engine.planning.build", "build_plan"),
    "check_plan": ("engine.planning.check", "check"),
    "load_plan": ("engine.plan.files", "load_plan"),
    "open_training": ("engine.train.opening", "open_training"),
    "scan_data": ("engine.planning.data", "scan_data"),
}

__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _NAMES[name]
    globals()[name] = found = getattr(importlib.import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})

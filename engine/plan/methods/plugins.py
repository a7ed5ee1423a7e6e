"""Methods that other packages add: entry points of the group `sdtrain.methods`, each a `MethodSpec`."""

from __future__ import annotations

from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points

from engine.errors import UserError
from engine.plan.methods.base import MethodOptions, MethodSpec

GROUP = "sdtrain.methods"
RESERVED = frozenset(
    (
        "version",
        "name",
        "method",
        "seed",
        "base",
        "data",
        "captions",
        "train",
        "optimizer",
        "objective",
        "samples",
        "validation",
        "checkpoints",
        "hardware",
        "output",
    )
)
"""The plan's own keys, which no method may be named like."""


def obstacle(spec: object, known: Container[str]) -> str:
    """Why `spec` cannot be a method beside those of `known` names; empty when it can."""
    if not isinstance(spec, MethodSpec):
        return f"it gives a {type(spec).__name__}, not a MethodSpec"
    if not (isinstance(spec.options, type) and issubclass(spec.options, MethodOptions)):
        return f"the options of {spec.name!r} are no MethodOptions"
    if not spec.name.isidentifier() or spec.name in RESERVED:
        return f"a method cannot be named {spec.name!r}"
    if spec.name in known:
        return f"there is a method {spec.name!r} already"
    if spec.lighter and spec.lighter not in known:
        return f"the lighter method {spec.lighter!r} is no method"
    return (
        f"its presets are like those of {spec.like!r}, which is no method" if spec.like not in known else ""
    )


def discover(built_in: dict[str, MethodSpec]) -> tuple[dict[str, MethodSpec], tuple[UserError, ...]]:
    """The methods that installed packages add beside the built-in ones, and what is wrong with the others."""
    found: dict[str, MethodSpec] = {}
    broken: list[UserError] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            spec = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (somebody else's module may raise anything)
            why = f"{type(error).__name__}: {error}"
        else:
            why = obstacle(spec, built_in | found)
            if not why:
                found[spec.name] = spec
        if why:
            broken.append(_broken(point, why))
    return found, tuple(broken)


def _broken(point: EntryPoint, why: str) -> UserError:
    package = point.dist.name if point.dist is not None else point.value
    what = f"the method {point.name!r} of the package {package} cannot be used"
    return UserError(what, " ".join(why.split()), f"update or remove {package}")

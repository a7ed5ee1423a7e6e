"""The traces that come with the program: the standard models with every method's usual options."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.cost.model_size import ModelSize
from engine.cost.traced_plan import TracedPlan, traits_of
from engine.cost.traced_rows import TABLES, model_word, versions
from engine.files import write_atomic
from engine.models.bases import BaseInfo, locate
from engine.plan.files import from_dict
from engine.plan.overrides import put
from engine.plan.schema import Plan
from engine.tracing.trace import trace

Options = Mapping[str, object]
# Their activations grow with the layers in other ways than those of a plain LoRA: scaled, they were up to 42 % off.
OTHER_KINDS: Sequence[Options] = ({"dora": True}, {"kind": "loha"}, {"kind": "lokr"})
VARIANTS: Mapping[str, Sequence[Options]] = {
    "lora": (
        *({"targets": name} for name in ("attention", "attention_ff", "all")),
        {"text_encoder": True},
        {"dora": True},
        {"kind": "loha"},
        {"kind": "lokr"},
        *({"targets": name, **kind} for name in ("attention_ff", "all") for kind in OTHER_KINDS),
    ),
    "style_lora": ({}, {"targets": "all"}),
    "dreambooth": ({}, {"text_encoder": True}),
    "textual_inversion": ({},),
    "controlnet": ({},),
    "t2i_adapter": ({},),
    "hypernetwork": ({}, {"layer_structure": [1.0, 4.0, 1.0], "activation": "swish"}),
    "full": ({}, {"text_encoder": True}),
    "scratch": ({}, {"size": "narrow"}),
}
"""Options of each method; the first are its defaults, or as good as those."""
MODELS: Mapping[str, tuple[str, str]] = {
    "sd1": ("owner/model", "sd1"),
    "sd2": ("owner/model", "sd2"),
    "sdxl": ("owner/model", "sdxl"),
    "tiny": ("builtin:tiny", "sd1"),
}
"""Bases and families by the name of their table."""


def plan_of(method: str, options: Options, model: str, checkpointing: bool) -> Plan:
    """A plan of this kind on one of the models."""
    tables: dict[str, object] = {}
    values: dict[str, object] = {
        "name": "traced",
        "method": method,
        "base.model": MODELS[model][0],
        "base.family": MODELS[model][1],
        "data.path": "/",
        "data.trigger": "word",
        "hardware.gradient_checkpointing": checkpointing,
        **{f"{method}.{name}": value for name, value in options.items()},
    }
    for key, value in values.items():
        put(tables, key, value)
    return from_dict(tables)


def base_of(model: str) -> BaseInfo | None:
    """The base of a table; none for a published one, which need not be on this machine."""
    name = MODELS[model][0]
    return locate(name) if name.startswith("builtin:") else None


def kinds(model: str) -> Iterator[tuple[Plan, bool]]:
    """Plans of the model's table, each with whether it computes in 16 bit.

    32 bit is for the built-in model, and for the defaults on SD 1.x: nobody trains larger ones in it.
    """
    for method, variants in VARIANTS.items():
        for at, options in enumerate(variants):
            for checkpointing in (False, True):
                plan = plan_of(method, options, model, checkpointing)
                if model != "tiny" or at == 0:
                    yield plan, True
                if model == "tiny" or (model == "sd1" and at == 0 and method in ("lora", "full")):
                    yield plan, False


def rows(model: str) -> Iterator[tuple[str, TracedPlan]]:
    """Every trace of the model's table with its key."""
    base, family = base_of(model), MODELS[model][1]
    for plan, half in kinds(model):
        traits = traits_of(plan, model_word(ModelSize(plan, base)), half)
        yield traits.key, trace(plan, base, family, half)


def write(model: str) -> Path:
    """Trace the model's table anew; what is done is written after each row."""
    path, found = TABLES / f"{model}.json", []
    for key, traced in rows(model):
        found.append(f"{json.dumps(key)}:{json.dumps(traced.to_json(), separators=(',', ':'))}")
        text = ",\n".join(found)
        write_atomic(path, f'{{"versions":{json.dumps(versions())},"rows":{{\n{text}\n}}}}\n')
        print(key, file=sys.stderr, flush=True)
    return path


def main(models: Sequence[str]) -> None:
    """`python -m engine.tracing.table [MODEL...]`."""
    gc.disable()  # nothing here is held in a circle for long, and looking for it takes a third of the time
    for model in models or tuple(MODELS):
        print(write(model))


if __name__ == "__main__":
    main(sys.argv[1:])

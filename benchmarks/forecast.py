"""`python -m benchmarks.forecast`: the forecast of memory against live storage that is counted, plan by plan."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.__main__ import put_between
from benchmarks.figures import Figure, Report, machine, versions
from benchmarks.live_storage import counted_bytes
from engine.cost.memory import CUDA_OVERHEAD
from engine.cost.model_size import ModelSize
from engine.cost.peak import forecast_memory
from engine.dataset.report import Counts, DatasetReport
from engine.plan.files import from_dict
from engine.plan.overrides import put
from engine.plan.schema import Plan

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One plan. `elsewhere` is what was counted of it by other code than this repository's, in GiB; 0 is nothing."""

    title: str
    family: str
    size: tuple[int, int]
    changes: Mapping[str, object] = field(default_factory=dict)
    elsewhere: float = 0.0


SAVING = {"hardware.gradient_checkpointing": True}
ELSEWHERE = {"hardware.offload_activations": True}
FUSED = {"hardware.fused_backward": "weights", "train.clip_norm": 0.0}
GROUPS = {"hardware.fused_backward": "groups"}
FOUR = {"train.batch_size": 4}
SD1, SD2, SDXL = (512, 512), (768, 768), (1024, 1024)
CASES: tuple[Case, ...] = (
    Case("SD 1.5 LoRA", "sd1", SD1),
    Case("SD 1.5 LoRA, batch 4", "sd1", SD1, FOUR, 6.53),
    Case("SD 1.5 LoRA on all layers, batch 4", "sd1", SD1, {**FOUR, "lora.targets": "all"}, 7.92),
    Case("SD 1.5 LoRA, batch 4, checkpointing", "sd1", SD1, {**FOUR, **SAVING}, 3.20),
    Case("SD 1.5 LoRA of rank 128 at 832x640", "sd1", (832, 640), {"lora.rank": 128}),
    Case("SD 1.5 LoHa", "sd1", SD1, {"lora.kind": "loha"}),
    Case("SD 1.5 textual inversion", "sd1", SD1, {"method": "textual_inversion"}),
    Case("SD 1.5 hypernetwork", "sd1", SD1, {"method": "hypernetwork"}),
    Case("SD 1.5 ControlNet", "sd1", SD1, {"method": "controlnet"}),
    Case("SD 1.5 T2I-Adapter", "sd1", SD1, {"method": "t2i_adapter"}),
    Case("SD 1.5 Style-LoRA", "sd1", SD1, {"method": "style_lora"}),
    Case("SD 1.5 full", "sd1", SD1, {"method": "full"}, 13.64),
    Case("SD 1.5 full, batch 4", "sd1", SD1, {"method": "full", **FOUR}, 16.43),
    Case("SD 1.5 full, checkpointing", "sd1", SD1, {"method": "full", **SAVING}, 13.46),
    Case(
        "SD 1.5 DreamBooth with text encoder",
        "sd1",
        SD1,
        {"method": "dreambooth", "dreambooth.text_encoder": True},
        14.98,
    ),
    Case("SD 1.5 from scratch, narrow", "sd1", SD1, {"method": "scratch", "scratch.size": "narrow"}),
    Case("SD 2 LoRA", "sd2", SD2),
    Case("SD 2 full, batch 4, checkpointing", "sd2", SD2, {"method": "full", **FOUR, **SAVING}),
    Case("SDXL LoRA", "sdxl", SDXL, {}, 14.15),
    Case("SDXL LoRA, checkpointing", "sdxl", SDXL, SAVING, 7.55),
    Case("SDXL LoRA, batch 4, 1536 px, checkpointing", "sdxl", (1536, 1536), {**FOUR, **SAVING}),
    Case("SDXL full, checkpointing", "sdxl", SDXL, {"method": "full", **SAVING}, 40.35),
    Case("SDXL ControlNet, checkpointing", "sdxl", SDXL, {"method": "controlnet", **SAVING}),
    Case("SD 1.5 LoRA, base in int8", "sd1", SD1, {"hardware.base_weights": "int8"}),
    Case("SD 1.5 LoRA, base in fp8", "sd1", SD1, {"hardware.base_weights": "fp8"}),
    Case("SDXL LoRA, base in nf4, checkpointing", "sdxl", SDXL, {"hardware.base_weights": "nf4", **SAVING}),
    Case("SD 1.5 LoRA, batch 4, offloaded activations", "sd1", SD1, {**FOUR, **ELSEWHERE}),
    Case("SD 1.5 LoRA, offloaded activations, checkpointing", "sd1", SD1, {**ELSEWHERE, **SAVING}),
    Case("SD 1.5 ControlNet, offloaded activations", "sd1", SD1, {"method": "controlnet", **ELSEWHERE}),
    Case("SDXL LoRA, offloaded activations", "sdxl", SDXL, ELSEWHERE),
    Case("SDXL LoRA, offloaded activations, checkpointing", "sdxl", SDXL, {**ELSEWHERE, **SAVING}),
    Case("SD 1.5 full, bf16 weights", "sd1", SD1, {"method": "full", "train.weights": "bf16"}),
    Case("SD 1.5 full, fused backward", "sd1", SD1, {"method": "full", **FUSED}),
    Case("SD 1.5 full, fused backward in groups", "sd1", SD1, {"method": "full", **GROUPS}),
    Case(
        "SDXL full, bf16 weights, fused backward, checkpointing",
        "sdxl",
        SDXL,
        {"method": "full", "train.weights": "bf16", **FUSED, **SAVING},
    ),
)


def plan_of(case: Case) -> Plan:
    """The plan of a case: no class pictures, one batch a step, no previews, everything cached."""
    tables: dict[str, object] = {}
    values: dict[str, object] = {
        "name": "counted",
        "base.model": "owner/model",
        "base.family": case.family,
        "data.path": "/",
        "data.trigger": "word",
        "data.resolution": 512,
        "samples.every": 0,
        "train.precision": "bf16",
        "hardware.device": "cuda",
        "hardware.idle_parts": "keep",
        **case.changes,
    }
    for key, value in values.items():
        put(tables, key, value)
    return from_dict(tables)


def forecast_bytes(case: Case) -> int:
    """What the forecast says of the training, without the allowance for CUDA."""
    plan = plan_of(case)
    counts = Counts(files=1, images=1, captioned=1)
    report = DatasetReport(
        "/", 512, "word", True, False, (), (), counts, {case.size: 1}, case.size, (), "words"
    )
    found = forecast_memory(plan, ModelSize(plan, None), report, True, True, None)
    assert found.setting.found.source == "table", case.title
    return dict(found.phases)["training"] - CUDA_OVERHEAD


@dataclass(frozen=True)
class Row:
    """What was forecast and what was counted of a case, in GiB."""

    case: Case
    forecast: float
    counted: float

    @property
    def off(self) -> float:
        """The forecast's distance from what was counted, in percent."""
        return 100 * (self.forecast / self.counted - 1)

    def text(self) -> str:
        """A line of the table."""
        known = self.case.elsewhere
        other = f"{known:.2f} ({100 * (self.forecast / known - 1):+.1f} %)" if known else ""
        return f"| {self.case.title} | {self.forecast:.2f} | {self.counted:.2f} | {self.off:+.1f} % | {other} |\n"


def row(case: Case) -> Row:
    """Forecast and count of one case."""
    counted = counted_bytes(plan_of(case), None, case.family, *case.size)
    return Row(case, forecast_bytes(case) / GIB, counted / GIB)


def rows(cases: Sequence[Case]) -> list[Row]:
    """Every case, told as it is done."""
    found = []
    for case in cases:
        found.append(row(case))
        print(found[-1].text(), end="", file=sys.stderr, flush=True)
    return found


def table(found: Sequence[Row]) -> str:
    """Forecast against counted as Markdown."""
    named = ", ".join(
        f"{name} {value}" for name, value in versions().items() if name in ("torch", "diffusers")
    )
    head = (
        "| plan | forecast, GiB | counted, GiB | off by | counted by other code |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    return f"Versions: {named}. Without the allowance for CUDA.\n\n{head}{''.join(each.text() for each in found)}"


def figures(found: Sequence[Row]) -> list[Figure]:
    """The largest distances either way."""
    over, under = max(found, key=lambda each: each.off), min(found, key=lambda each: each.off)
    note = f"{len(found)} plans, without the allowance for CUDA"
    return [
        Figure("forecast.over", "forecast over what was counted", max(0.0, over.off), "%", 10.0, note=note),
        Figure("forecast.under", "forecast under what was counted", max(0.0, -under.off), "%", 3.0),
    ]


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecast", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="the first case only: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the largest distances as JSON")
    parser.add_argument("--into", type=Path, metavar="DOC", help="replace the table in this page")
    args = parser.parse_args(arguments)
    found = rows(CASES[:1] if args.quick else CASES)
    print(table(found))
    if args.json is not None:
        args.json.write_text(Report(machine(), versions(), figures(found)).to_json())
    if args.into is not None:
        args.into.write_text(put_between(args.into.read_text(), "forecast", table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

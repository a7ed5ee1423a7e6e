"""`sdtrain estimate` traces what no table has, once, in a process of its own, and keeps what was counted."""

from __future__ import annotations

from pathlib import Path

from engine.run.paths import cache_root
from tests.cli.conftest import Cli


def test_a_plan_that_no_table_has_is_traced_once(cli: Cli, plan_file: Path) -> None:
    sets = ("--set", 'lora.kind="lokr"', "--set", "lora.rank=3", "--json")
    first = cli("estimate", str(plan_file), *sets)
    assert first.code == 0 and first.json["traced"] == "traced here"
    kept = list((cache_root() / "traced").glob("*.json"))
    assert len(kept) == 1
    changed = kept[0].stat().st_mtime_ns
    again = cli("estimate", str(plan_file), *sets).json
    assert again["vram_parts"] == first.json["vram_parts"] and kept[0].stat().st_mtime_ns == changed
    assert again["vram_error"] < 0.04 * again["vram_total"]

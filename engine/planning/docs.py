"""The plan's reference, generated from its fields: JSON schema and the page docs/plan.md."""

from __future__ import annotations

import json
from typing import Any

from engine.plan.fields import PlanField, list_sections, section_fields
from engine.plan.methods import METHODS
from engine.plan.schema import SCHEMA_VERSION, Plan, plan_fields
from engine.planning.presets import recipes

LISTS = list_sections(Plan)
INTRO = f"""# The plan

<!-- generated: sdtrain schema --markdown > docs/plan.md -->

A plan is one TOML file, schema version {SCHEMA_VERSION}, that says what a run is asked to do. `sdtrain new` writes it,
`sdtrain check` says everything that is wrong with it, and `--set KEY=VALUE` overrides any field of it. Fields that are
left out have the default; a field that is not in these tables is an error. Relative paths are read from the plan's own
folder.

An example that is enough:

```toml
name = "my-cat"
method = "lora"

[base]
model = "builtin:tiny"

[data]
path = "photos/cat"
trigger = "mycat"
```
"""


def schema_json() -> dict[str, Any]:
    """The JSON schema (builder 2020-12) of a plan, for editors that check TOML or JSON against one."""
    schema = Plan.model_json_schema()
    head = {"$schema": "https://json-schema.org/builder/2020-12/schema", "title": "sdtrain plan"}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}}


def markdown() -> str:
    """The whole page: every field of every table, then the presets with their sources."""
    parts = [INTRO, *(_table(name, fields) for name, fields in _tables().items()), _presets()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _tables() -> dict[str, list[PlanField]]:
    tables: dict[str, list[PlanField]] = {}
    for method in METHODS:
        for entry in plan_fields(method):
            table = tables.setdefault(entry.key.rpartition(".")[0], [])
            if entry not in table:
                table.append(entry)
            if entry.kind == "tables":
                tables[f"[{entry.key}]"] = section_fields(LISTS[entry.key], "")
    return tables


def _table(name: str, fields: list[PlanField]) -> str:
    about = _about(name)
    rows = [f"## [{name}]" if name else "## Top of the file", "", *([about, ""] if about else [])]
    rows += ["| key | kind | default | meaning |", "|---|---|---|---|"]
    rows += [_row(entry) for entry in fields]
    return "\n".join(rows) + "\n"


def _about(name: str) -> str:
    if name in METHODS:
        spec = METHODS[name]
        return f"Method {spec.title}: {spec.goal}. Input: {spec.input}. Output: {spec.output}. Formats: " + (
            ", ".join(f"`{form}`" for form in spec.formats) + "."
        )
    if name.startswith("["):
        return (LISTS[name.strip("[]")].__doc__ or "").strip()
    model = Plan.model_fields[name].annotation if name else None
    return (getattr(model, "__doc__", None) or "").strip() if model else ""


def _row(entry: PlanField) -> str:
    default = "**must be given**" if entry.required else f"`{_literal(entry.default)}`"
    if entry.default is None and not entry.required:
        default = "none"
    meaning = entry.help + (f"; {entry.bounds_text}" if entry.bounds_text else "")
    if entry.unit and entry.unit not in entry.help:
        meaning += f" ({entry.unit})"
    short = entry.key.rpartition(".")[2]
    return f"| `{short}` | {entry.kind} | {default} | {_cell(meaning)} |"


def _literal(value: object) -> str:
    # Numbers as Python writes them are TOML too; texts, lists and truth values are written as JSON does.
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _presets() -> str:
    rows = ["## Presets", "", "What `sdtrain new` starts from before it looks at the data.", ""]
    for recipe in recipes():
        tiny = ", the built-in tiny model" if recipe.get("tiny") else ""
        rows += [
            f"### {recipe['method']} on {recipe['family']}{tiny}",
            "",
            "| card | values | source |",
            "|---|---|---|",
        ]
        rows.append(f"| all | {_values(recipe['values'])} | {_cell(recipe['source'])} |")
        if rates := recipe.get("rates"):
            span = f"learning rates {_literal(rates['low'])} to {_literal(rates['high'])}"
            rows.append(f"| recipes | {span} | {_cell(rates['source'])} |")
        for card in recipe["card"]:
            size = f"{card['vram_gb']} GB" if card["vram_gb"] else "none"
            rows.append(f"| {size} | {_values(card.get('values', {}))} | {_cell(card['source'])} |")
        rows.append("")
    return "\n".join(rows)


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"`{key} = {_literal(value)}`" for key, value in values.items()) or "the same"

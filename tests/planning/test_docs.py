"""The generated reference: the page in docs is current, and the schema knows every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.plan.files import from_dict
from engine.plan.methods import METHODS
from engine.plan.schema import plan_fields
from engine.planning.docs import markdown, schema_json

PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


def test_the_page_in_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: sdtrain schema --markdown > docs/plan.md"


def test_every_field_has_a_help_text_and_a_row() -> None:
    text = markdown()
    for method in METHODS:
        for field in plan_fields(method):
            assert field.help, field.key
            assert f"| `{field.key.split('.')[-1]}` |" in text


def test_the_schema_has_exactly_the_fields_of_the_plan() -> None:
    schema = schema_json()
    keys = {field.key for method in METHODS for field in plan_fields(method)}
    assert set(_keys(schema, schema, "")) == keys
    assert schema["additionalProperties"] is False


def _keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for name, value in node["properties"].items():
        inner = [value, *value.get("anyOf", [])]
        reference = next((item["$ref"] for item in inner if "$ref" in item), None)
        if reference:
            table = schema["$defs"][reference.rpartition("/")[2]]
            found += _keys(schema, table, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def test_the_example_on_the_page_is_a_plan() -> None:
    import tomllib

    text = markdown().split("```toml\n")[1].split("```")[0]
    assert from_dict(tomllib.loads(text)).name == "my-cat"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_methods_page_begins_with_what_its_card_says(method: str) -> None:
    spec, page = METHODS[method], (PAGE.parent / "methods" / f"{method}.md").read_text(encoding="utf-8")
    card = page.split("\n\n")[1].replace("`", "")
    lines = [" ".join(line.split()) for line in card.removeprefix("- ").split("\n- ")]
    told = {"Goal": spec.goal, "Input": spec.input, "Output": spec.output, "Use": spec.use}
    assert page.startswith(f"# {spec.title}\n") and len(lines) == len(told)
    for line, (name, text) in zip(lines, told.items(), strict=True):
        assert f"{line} ".startswith(f"**{name}**: {text}. "), "the page says something else than the card"

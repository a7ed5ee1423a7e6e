"""--set KEY=VALUE, read as the field's kind wants it."""

from __future__ import annotations

import pytest

from engine.errors import UserError
from engine.plan.overrides import apply_sets


@pytest.mark.parametrize(
    ("item", "table", "value"),
    [
        ("train.steps=200", "train", {"steps": 200}),
        ("train.learning_rate=1e-4", "train", {"learning_rate": 1e-4}),
        ("train.learning_rate=.5", "train", {"learning_rate": 0.5}),
        ("data.flip=true", "data", {"flip": True}),
        ("data.trigger=true", "data", {"trigger": "true"}),
        ("data.trigger=007", "data", {"trigger": "007"}),
        ('data.trigger="a b"', "data", {"trigger": "a b"}),
        ("data.cache_text=on", "data", {"cache_text": "on"}),
        ("samples.prompts=a cat", "samples", {"prompts": ["a cat"]}),
        ('samples.prompts=["a", "b"]', "samples", {"prompts": ["a", "b"]}),
        ("samples.prompts=", "samples", {"prompts": []}),
        ("name=42", "name", "42"),
        ("data.path=a=b", "data", {"path": "a=b"}),
    ],
)
def test_a_value_is_read_as_the_field_wants_it(item: str, table: str, value: object) -> None:
    assert apply_sets({}, [item]) == {table: value}


def test_sets_apply_in_order_and_leave_the_input_alone() -> None:
    data = {"train": {"steps": 1}}
    assert apply_sets(data, ["train.steps=2", "train.steps=3"]) == {"train": {"steps": 3}}
    assert data == {"train": {"steps": 1}}


@pytest.mark.parametrize("item", ["train.steps", "=3", "name.x=3"])
def test_what_is_no_key_and_value_is_a_user_error(item: str) -> None:
    with pytest.raises(UserError):
        apply_sets({"name": "n"}, [item])

"""The glossary: what a plan or a module of the engine calls by name is plain English or has an entry."""

from __future__ import annotations

import re
from pathlib import Path

from engine.plan.methods import METHODS
from engine.plan.schema import plan_fields

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "glossary.md"
FIELDS = {field.key: field for method in METHODS for field in plan_fields(method)}

PLAIN = frozenset(Path(__file__).with_name("plain_words.txt").read_text(encoding="utf-8").split())
"""Words that mean here what they mean in any program or in any talk."""


def entries() -> dict[str, str]:
    """The page as headings and what stands below each."""
    parts = re.split(r"^### (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {head: body.split("\n## ")[0].strip() for head, body in zip(parts[::2], parts[1::2], strict=True)}


def words(name: str) -> set[str]:
    """The words of a name, without their plural, without a number behind them."""
    return {
        re.sub(r"(?<=\w\w)s$", "", re.sub(r"ies$", "y", word))
        for word in re.findall(r"[a-z0-9]+", name.lower())
    }


def explained() -> set[str]:
    return {
        word for head in entries() for word in words(head.replace("-", " ") + " " + head.replace("-", ""))
    }


def unknown(name: str) -> set[str]:
    known = explained() | {word for plain in PLAIN for word in words(plain)}
    found = {re.sub(r"(?<=[a-z]{3})\d$", "", word) for word in words(name.replace("_", " "))}
    return found - known


def test_every_word_of_a_plans_keys_is_plain_or_explained() -> None:
    missing = {key: unknown(key) for key in FIELDS}
    assert {key: words for key, words in missing.items() if words} == {}


def test_every_word_of_the_engines_modules_is_plain_or_explained() -> None:
    modules = [path for path in (ROOT / "engine").rglob("*.py") if not path.stem.startswith("__")]
    names = {path.relative_to(ROOT / "engine").with_suffix("").as_posix() for path in modules}
    missing = {name: unknown(name.replace("/", " ")) for name in names}
    assert {name: words for name, words in missing.items() if words} == {}


def test_every_choice_of_a_method_has_an_entry() -> None:
    assert {name: unknown(name) for name in METHODS if unknown(name)} == {}


def test_an_entry_is_one_short_paragraph_and_the_plans_keys_behind_it() -> None:
    found = entries()
    assert len(found) > 80
    for head, body in found.items():
        text, _, keys = body.partition("\nKeys: ")
        assert 20 < len(text) < 400 and "\n\n" not in text and text.endswith("."), head
        named = re.findall(r"`([a-z0-9_.]+)`", keys)
        assert bool(named) == bool(keys) and [key for key in named if key not in FIELDS] == [], head


def test_the_terms_that_a_newcomer_asks_about_lead_to_their_keys() -> None:
    keyed = {key for body in entries().values() for key in re.findall(r"`([a-z0-9_.]+)`", body)}
    asked = {"lora.rank", "lora.alpha", "train.ema", "objective.min_snr_gamma", "data.bucket", "data.trigger"}
    assert asked <= keyed


def test_a_plain_word_has_no_entry_of_its_own() -> None:
    assert sorted(PLAIN & set(entries())) == []

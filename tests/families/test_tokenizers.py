"""A tokenizer is found beside the model, where the plan says, or in the hub's cache; never on the network."""

import shutil
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.families.tokenizers import load_tokenizer
from engine.installing import hub_download
from engine.models.tokenizer_folder import find_tokenizer

CACHED = "hub/models--openai--clip-vit-large-patch14/snapshots/abc"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf"


def test_a_folder_brings_its_own(sd1_folder: Path) -> None:
    assert find_tokenizer(sd1_folder) == sd1_folder / "tokenizer"


def test_a_single_file_takes_what_lies_beside_it_then_the_cache(
    sd1_folder: Path, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    model = folder / "m.safetensors"
    model.write_bytes(b"")
    shutil.copytree(sd1_folder / "tokenizer", cache / CACHED)
    assert find_tokenizer(model) == cache / CACHED
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(sd1_folder / "tokenizer" / name, folder / name)
    assert find_tokenizer(model) == folder
    shutil.copytree(sd1_folder / "tokenizer", folder / "tokenizer")
    assert find_tokenizer(model) == folder / "tokenizer"


def test_the_one_that_is_named_wins_and_is_not_replaced_by_another(sd1_folder: Path, tmp_path: Path) -> None:
    assert find_tokenizer(tmp_path / "m.ckpt", sd1_folder / "tokenizer") == sd1_folder / "tokenizer"
    with pytest.raises(UserError, match=r"vocab\.json"):
        find_tokenizer(sd1_folder, tmp_path)


def test_without_one_the_missing_files_and_the_way_to_get_them_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_tokenizer(tmp_path / "m.safetensors")
    text = str(caught.value)
    assert "vocab.json" in text
    assert "merges.txt" in text
    assert hub_download("openai/clip-vit-large-patch14", "vocab.json", "merges.txt") in text


def test_the_two_files_alone_make_a_clip_tokenizer_of_77_tokens(sd1_folder: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(sd1_folder / "tokenizer" / name, tmp_path / name)
    tokenizer = load_tokenizer(tmp_path)
    whole = load_tokenizer(sd1_folder / "tokenizer")
    assert tokenizer.model_max_length == 77
    ids = tokenizer("a cat", padding="max_length", truncation=True, max_length=77).input_ids
    assert ids == whole("a cat", padding="max_length", truncation=True, max_length=77).input_ids


SPECIAL = '"<|startoftext|>": 3, "<|endoftext|>": 4'


@pytest.mark.parametrize(
    ("vocabulary", "merges", "word"),
    [
        ("{nonsense", "", "vocab.json"),
        ("[]", "", "not a JSON object"),
        ('{"a": 1}', "", "startoftext"),
        (f'{{"a": "1", {SPECIAL}}}', "", "no number"),
        (f'{{"a": 1, {SPECIAL}}}', "#version: 0.2\na b\n", "line 2"),
        (f'{{"a": 1, "b": 2, {SPECIAL}}}', "a b c\n", "line 1"),
        ("[" * 100_000, "", "vocab.json"),
    ],
)
def test_a_broken_tokenizer_is_an_error_by_name(
    vocabulary: str, merges: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match="tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert word in str(caught.value)

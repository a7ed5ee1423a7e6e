"""CLIP's vocabulary is found in whatever carries it, converted exactly, kept, and never taken from something else."""

import gzip
import importlib.util
import json
import shutil
import sys
import types
import zipfile
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.families.tokenizers import load_tokenizer
from engine.models.clip_vocabulary import FILES, PACKED, clip_files
from engine.models.tokenizer_folder import find_tokenizer, kept_folder
from tests.support import clip_wheel

TEXTS = (
    "a photo of a cat",
    "sks dog, 4k, (masterpiece:1.2)",
    "Žluťoučký kůň — 日本語 🦊🦊",
    "don't; it's  \t spaced\nout",
    "<|startoftext|>x<|endoftext|>",
    "",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_wheel.fetch(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's folder as pip would lay it into site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        for name in (f"open_clip/{PACKED}", "open_clip/tokenizer.py"):
            archive.extract(name, folder)
    return folder / "open_clip"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A home with nothing in it, an empty hub cache, and a current folder that is empty too."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.chdir(user)
    return user


def single_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "m.safetensors"
    model.write_bytes(b"")
    return model


def ids(folder: Path, text: str) -> list[int]:
    found = load_tokenizer(folder)(text).input_ids
    return [int(each) for each in found]


def test_it_is_open_clips_own_vocabulary_piece_by_piece(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its ftfy mends broken Unicode before anything else; the texts here have none.
    repair = types.ModuleType("ftfy")
    repair.fix_text = lambda text: text  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ftfy", repair)
    spec = importlib.util.spec_from_file_location("their_tokenizer", unpacked / "tokenizer.py")
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    reference = theirs.SimpleTokenizer()
    texts = clip_files(unpacked)
    assert texts is not None
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    expected = {names.get(piece, piece): number for piece, number in reference.encoder.items()}
    assert json.loads(texts["vocab.json"]) == expected
    for name in FILES:
        (tmp_path / name).write_text(texts[name], encoding="utf-8")
    for text in TEXTS:
        if "<|" not in text:
            assert ids(tmp_path, text)[1:-1] == reference.encode(text), text
    assert ids(tmp_path, TEXTS[0]) == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_each_form_gives_the_same_two_files(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    expected = clip_files(unpacked / PACKED)
    assert expected is not None
    plain = tmp_path / "plain.txt"
    plain.write_bytes(gzip.decompress((unpacked / PACKED).read_bytes()))
    folder = tmp_path / "sd1_tokenizer"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(expected[name], encoding="utf-8")
    for form in (wheel, unpacked, plain, folder):
        assert clip_files(form) == expected, form


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("models", "ComfyUI/comfy/sd1_tokenizer"),
        ("ComfyUI/models/checkpoints/sdxl", "ComfyUI/comfy/sd1_tokenizer"),
        ("elsewhere/Comfy-2/models/checkpoints", "elsewhere/Comfy-2/comfy/sd1_tokenizer"),
        ("models", "stable-diffusion-webui/venv/lib/python3.10/site-packages/clip"),
        ("models", "stable-diffusion-webui/venv/lib/python3.10/site-packages/open_clip"),
        (
            "models",
            "stable-diffusion-webui-forge/backend/huggingface/runwayml/stable-diffusion-v1-5/tokenizer",
        ),
        ("models", ".local/lib/python3.12/site-packages/open_clip"),
        ("models", "../hf/hub/models--stabilityai--stable-diffusion-xl-base-1.0/snapshots/abc/tokenizer"),
        ("models", "../hf/hub/models--someone--a-model-of-theirs/snapshots/abc/tokenizer"),
    ],
)
def test_programs_packages_and_cached_models_are_asked(
    model: str, place: str, unpacked: Path, bare: Path
) -> None:
    file = single_file(bare / model)
    with pytest.raises(UserError):
        find_tokenizer(file)
    folder = bare / place
    if "python3" in place:
        folder.mkdir(parents=True)
        shutil.copy(unpacked / PACKED, folder / PACKED)
    else:
        texts = clip_files(unpacked)
        assert texts is not None
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text(texts[name], encoding="utf-8")
    assert find_tokenizer(file) == kept_folder()
    assert ids(kept_folder(), TEXTS[0]) == [49406, 320, 1125, 539, 320, 2368, 49407]
    shutil.rmtree(folder)
    assert find_tokenizer(file) == kept_folder()


def test_a_package_of_this_python_is_found(
    unpacked: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(unpacked.parent))
    assert find_tokenizer(single_file(bare / "models")) == kept_folder()


@pytest.mark.parametrize("given", ["wheel", "packed", "program"])
def test_base_tokenizer_may_name_a_program_or_a_file(
    given: str, wheel: Path, unpacked: Path, bare: Path
) -> None:
    program = bare / "apps" / "my-comfy"
    (program / "comfy" / "sd1_tokenizer").mkdir(parents=True)
    shutil.copy(unpacked / PACKED, program / "comfy" / "sd1_tokenizer" / PACKED)
    named = {"wheel": wheel, "packed": unpacked / PACKED, "program": program}[given]
    assert find_tokenizer(single_file(bare / "models"), named) == kept_folder()


@pytest.mark.parametrize("cut", [0, 1, 20_000])
def test_another_vocabulary_is_not_taken_for_clips(cut: int, unpacked: Path, bare: Path) -> None:
    lines = gzip.decompress((unpacked / PACKED).read_bytes()).split(b"\n")
    lines[1 + cut], lines[2 + cut] = lines[2 + cut], lines[1 + cut]
    folder = bare / "ComfyUI" / "comfy" / "sd1_tokenizer"
    folder.mkdir(parents=True)
    (folder / PACKED).write_bytes(gzip.compress(b"\n".join(lines), 1))
    with pytest.raises(UserError, match="no CLIP tokenizer"):
        find_tokenizer(single_file(bare / "models"))
    assert not kept_folder().exists()


@pytest.mark.parametrize(
    "junk", [b"", b"\x1f\x8b\x08", b"PK\x03\x04 no archive", b"\0" * 1000, b"\xff\xfe a b\n"]
)
def test_junk_under_its_name_is_passed_over(junk: bytes, bare: Path) -> None:
    folder = bare / "ComfyUI" / "comfy" / "sd1_tokenizer"
    folder.mkdir(parents=True)
    (folder / PACKED).write_bytes(junk)
    with pytest.raises(UserError) as caught:
        find_tokenizer(single_file(bare / "models"))
    assert "open_clip_torch" in caught.value.fix and "--local-dir clip-tokenizer" in caught.value.fix
    with pytest.raises(UserError):
        find_tokenizer(single_file(bare / "models"), folder / PACKED)


def test_where_it_cannot_be_kept_the_place_is_named(unpacked: Path, bare: Path, home: Path) -> None:
    kept_folder().parent.parent.mkdir(parents=True, exist_ok=True)
    kept_folder().parent.write_text("in the way")
    with pytest.raises(UserError, match="cannot be kept"):
        find_tokenizer(single_file(bare / "models"), unpacked)

"""AVIF, HEIC and JPEG XL: read as upright RGB where the decoder is there, refused with a way out where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.dataset import other_formats
from engine.dataset.images import load_rgb, read_header
from engine.dataset.refusals import PictureError
from engine.dataset.scan import scan

FORMATS = {"AVIF": ".avif", "HEIF": ".heic", "JXL": ".jxl"}
TURNED = 6


@pytest.fixture(autouse=True)
def decoders() -> Iterator[None]:
    for name in FORMATS:
        assert other_formats.can_read(name), name
    yield
    other_formats._registered.cache_clear()


def marked() -> Image.Image:
    """Wider than high, with one red quarter at the top left."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:20, :32, 0] = 255
    return Image.fromarray(pixels)


def save(path: Path, name: str, image: Image.Image | None = None, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (marked() if image is None else image).save(path, name, quality=95, **more)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_is_read_as_it_was(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{FORMATS[name]}", name)
    header, pixels = read_header(path), load_rgb(path)
    assert (header.width, header.height, header.alpha) == (64, 40, False)
    assert np.abs(pixels[4:16, 4:28].astype(int) - (255, 0, 0)).max() < 24
    assert pixels[24:36, 36:60].max() < 24


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_a_turned_picture_stands_upright(name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURNED
    path = save(tmp_path / f"a{FORMATS[name]}", name, exif=exif.tobytes())
    header, pixels = read_header(path), load_rgb(path)
    assert (header.width, header.height) == (40, 64) == (pixels.shape[1], pixels.shape[0])
    assert pixels[4:28, 24:36, 0].min() > 230, "turned to the right, the corner is at the top right"


@pytest.mark.parametrize("name", FORMATS)
def test_alpha_is_laid_over_white_and_a_cut_file_is_refused(name: str, tmp_path: Path) -> None:
    clear = marked().convert("RGBA")
    clear.putalpha(0)
    path = save(tmp_path / f"a{FORMATS[name]}", name, clear)
    assert read_header(path).alpha and load_rgb(path).min() > 240
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    for read in (read_header, load_rgb):
        with pytest.raises(PictureError) as caught:
            read(path)
        assert caught.value.code in ("truncated", "unreadable") and "a." in caught.value.what


def test_they_are_pictures_of_a_folder_with_captions(tmp_path: Path) -> None:
    for name, suffix in FORMATS.items():
        save(tmp_path / f"{name}{suffix}", name)
        (tmp_path / f"{name}.txt").write_text(f"one in {name}")
    report = scan(tmp_path, resolution=64)
    assert not report.errors
    assert {item.caption for item in report.items} == {f"one in {name}" for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_without_its_decoder_the_command_that_gets_it_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / f"a{FORMATS[name]}", name)
    other_formats._registered.cache_clear()
    monkeypatch.setattr(other_formats, "find_spec", lambda module: None)
    with pytest.raises(PictureError) as caught:
        read_header(path)
    assert caught.value.code == "unsupported"
    assert ("pillow" if name == "AVIF" else "sdtrain-tui[pictures]") in caught.value.fix


def test_usual_pictures_import_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    other_formats._registered.cache_clear()
    monkeypatch.setattr(other_formats, "import_module", loaded.append)
    marked().save(tmp_path / "a.png")
    load_rgb(tmp_path / "a.png")
    assert loaded == []

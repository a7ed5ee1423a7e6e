"""Masks: found by name, by opacity, in a folder and in shards; cut as their pictures are; what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.dataset.beside import mask_stem
from engine.dataset.images import fit
from engine.dataset.masks import Mask, MaskChoice, fit_mask
from engine.dataset.report import DatasetReport
from engine.dataset.scan import scan
from tests.support.pictures import write_pictures
from tests.support.shards import png, write_shard

pytestmark = pytest.mark.usefixtures("home")
FILES = MaskChoice("files")


def paint(path: Path, size: tuple[int, int] = (64, 64), value: int | None = None) -> Path:
    """A mask: white on the left half, or of one value."""
    array = np.zeros((size[1], size[0]), dtype=np.uint8)
    array[:, : size[0] // 2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array if value is None else np.full_like(array, value)).save(path)
    return path


def look(path: Path, masks: MaskChoice = FILES, **options: object) -> DatasetReport:
    return scan(path, resolution=64, recursive=True, masks=masks, **options)  # type: ignore[arg-type]


def codes(report: DatasetReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in report.problems:
        found.setdefault(finding.code, []).append(finding.file)
    return found


def masks_of(report: DatasetReport) -> dict[str, str]:
    return {item.rel: Path(str(item.mask.source)).name for item in report.items if item.mask is not None}


@pytest.mark.parametrize(
    "name", ["00-masklabel.png", "00_mask.png", "00.mask.PNG", "masks/00.webp", "mask/00.png"]
)
def test_a_mask_is_found_by_its_pictures_name(name: str, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", 3)
    paint(folder / name)
    found = look(folder)
    assert masks_of(found) == {"00.png": Path(name).name}
    assert [item.rel for item in found.items] == ["00.png", "01.png", "02.png"]
    assert codes(found) == {"mask-missing": ["01.png", "02.png"]}
    assert found.counts.masked == 1
    off = look(folder, MaskChoice())
    assert not masks_of(off) and "masks" in codes(off)


def test_masks_in_sub_folders_go_with_the_pictures_above_them(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set" / "a", 1)
    write_pictures(tmp_path / "set" / "b", 2)
    paint(tmp_path / "set" / "a" / "masks" / "00.png")
    paint(tmp_path / "set" / "masks" / "b" / "00.png")
    paint(tmp_path / "set" / "masks" / "b" / "01_mask.png")
    found = look(tmp_path / "set")
    assert masks_of(found) == {"a/00.png": "00.png", "b/00.png": "00.png", "b/01.png": "01_mask.png"}
    assert not codes(found)


def test_a_mask_beside_its_picture_comes_before_one_in_a_folder(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", 1)
    paint(folder / "masks" / "00.png")
    paint(folder / "00_mask.png")
    paint(folder / "00-masklabel.png")
    assert masks_of(look(folder)) == {"00.png": "00-masklabel.png"}


def test_a_folder_of_masks_may_lie_anywhere(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", 2)
    paint(folder / "shapes" / "00.png")
    paint(tmp_path / "cut" / "set" / "01-masklabel.png")
    inside = folder / "shapes"
    found = look(folder, MaskChoice("files", str(inside)), without=[inside])
    assert masks_of(found) == {"00.png": "00.png"} and found.counts.images == 2
    assert masks_of(look(folder, MaskChoice("files", str(tmp_path / "cut")))) == {
        "01.png": "01-masklabel.png"
    }
    nowhere = look(folder, MaskChoice("files", str(tmp_path / "nowhere")))
    assert [finding.code for finding in nowhere.errors] == ["mask-folder"]


def test_what_is_wrong_with_masks_is_said_and_no_picture_is_dropped(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", 5)
    paint(folder / "masks" / "00.png")
    paint(folder / "masks" / "01.png", (64, 32))
    paint(folder / "masks" / "02.png", value=0)
    (folder / "masks" / "03.png").write_bytes(b"no picture")
    paint(folder / "masks" / "09.png")
    found = look(folder, deep=True)
    assert codes(found) == {
        "mask-shape": ["01.png"],
        "mask-black": ["02.png"],
        "mask-unreadable": ["03.png"],
        "mask-missing": ["04.png"],
        "mask-alone": ["masks/09.png"],
    }
    assert found.counts.images == 5 and sorted(masks_of(found)) == ["00.png", "02.png"]
    assert "mask-black" not in codes(look(folder)), "only a deep look decodes"


def test_no_mask_at_all_is_one_finding(tmp_path: Path) -> None:
    assert codes(look(write_pictures(tmp_path / "set", 3))) == {"masks-none": ["."]}
    assert codes(look(tmp_path / "set", MaskChoice("alpha"))) == {"masks-none": ["."]}


def test_alpha_is_what_is_opaque_in_every_kind_of_picture(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rgba = np.random.default_rng(0).integers(0, 255, (64, 48, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(folder / "rgba.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rgba).save(folder / "turned.png", exif=turned)
    Image.fromarray(rgba[:, :, :3]).save(folder / "plain.png")
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.paste(0, (0, 0, 32, 64))
    palette.save(folder / "palette.png", transparency=0)
    found = look(folder, MaskChoice("alpha"))
    whole = {item.rel: item.mask.whole() for item in found.items if item.mask is not None}
    assert set(whole) == {"rgba.png", "turned.png", "palette.png"}
    assert np.array_equal(whole["rgba.png"], rgba[:, :, 3])
    assert np.array_equal(whole["turned.png"], np.rot90(rgba[:, :, 3], -1))
    assert whole["palette.png"][:, :32].max() == 0 and whole["palette.png"][:, 32:].min() == 255
    assert codes(found)["mask-missing"] == ["plain.png"]


def test_a_shards_sample_brings_its_mask(tmp_path: Path) -> None:
    white = paint(tmp_path / "white.png").read_bytes()
    members: dict[str, bytes | str] = {
        "a.jpg": png(),
        "a.mask.png": white,
        "b.png": png(seed=1),
        "b.txt": "b",
    }
    shards = write_shard(tmp_path / "set" / "0.tar", members)
    for _ in range(2):  # read, and found again in the index
        found = look(tmp_path / "set")
        assert masks_of(found) == {"0.tar/a.jpg": "a.mask.png"}
        assert codes(found)["mask-missing"] == ["0.tar/b.png"]
    mask = found.items[0].mask
    assert mask is not None and mask.whole().mean() == 127.5
    with_folder = look(shards, MaskChoice("files", str(tmp_path)))
    assert [finding.code for finding in with_folder.errors] == ["mask-folder"]
    assert not masks_of(look(shards, MaskChoice()))


def test_a_mask_is_cut_and_scaled_as_its_picture_is() -> None:
    """A picture that is its own mask: what the picture's pixels average to is what the mask's places hold."""
    shape = np.zeros((96, 160), dtype=np.uint8)
    shape[20:60, 40:130] = 255
    picture = np.repeat(shape[:, :, None], 3, axis=2)
    for size in ((64, 64), (128, 64), (96, 160)):
        for crop in ((0.5, 0.5), (0.0, 1.0), (0.8, 0.3)):
            cut = fit(picture, *size, crop=crop)[:, :, 0] / 255
            wanted = cut.reshape(size[1] // 8, 8, size[0] // 8, 8).mean(axis=(1, 3))
            got = fit_mask(shape, (160, 96), size, 8, crop)
            assert np.abs(got - wanted).max() < 0.03  # Lanczos rings, which a mean does not
            assert np.abs(fit_mask(shape[::2, ::2], (160, 96), size, 8, crop) - got).max() < 1e-6


def test_a_mask_outside_is_exactly_0_and_inside_exactly_1() -> None:
    for side in (512, 700, 333):
        whole = np.zeros((side, side), dtype=np.uint8)
        whole[:, : side // 2] = 255
        got = fit_mask(whole, (side, side), (256, 256), 8, (0.5, 0.5))
        assert got.shape == (32, 32) and got.dtype == np.float32
        assert (got[:, :15] == 1).all() and (got[:, 17:] == 0).all()


def test_names_of_masks_name_pictures() -> None:
    assert mask_stem("a/cat-masklabel.png") == "a/cat" and mask_stem("cat_mask.jpg") == "cat"
    assert mask_stem("cat.png") == "cat" and mask_stem("cat-condlabel.png") == "cat-condlabel"


def test_a_mask_is_its_brightness_and_black_where_it_is_clear(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = (255, 255, 255, 255)
    rgba[0, 1] = (255, 255, 255, 0)
    rgba[1, 0] = (51, 51, 51, 255)
    Image.fromarray(rgba).save(tmp_path / "mask.png")
    assert Mask(tmp_path / "mask.png").whole().tolist() == [[255, 0], [51, 0]]

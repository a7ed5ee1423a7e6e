"""Condition maps from pictures: what each kind needs is looked for before the run, and its maps fit the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import open_training
from engine.dataset import annotators
from engine.dataset.annotators import KINDS, maker, obstacle
from engine.dataset.makers.depth import input_size
from engine.dataset.makers.hed import Hed
from engine.dataset.makers.lineart import Drawing
from engine.dataset.makers.openpose import COLOURS, FROM_COCO, draw, to_openpose
from engine.errors import UserError
from engine.installing import hub_download, pip_uninstall
from engine.planning.check import check
from tests.support.condition_models import (
    snapshot_of,
    write_depth_anything,
    write_dpt,
    write_kind,
    write_vitpose,
)
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan

WITH_WEIGHTS = [kind for kind, spec in KINDS.items() if spec.weights]
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    maker.cache_clear()
    return folder


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_weights_that_are_not_there_are_named_with_the_command_that_fetches_them(
    kind: str, hub: Path
) -> None:
    with pytest.raises(UserError, match="cannot be made here") as missing:
        maker(kind)
    found = obstacle(kind)
    weights = KINDS[kind].weights[0]
    assert found is not None and found.fix == missing.value.fix
    assert "nothing is downloaded unasked" in found.why
    fetch = hub_download(weights.hub, *weights.files, *weights.others)
    assert found.fix.startswith(f"{fetch}, or give the maps as files")


def test_the_second_model_of_poses_is_named_where_the_first_is_there(hub: Path) -> None:
    write_vitpose(snapshot_of(hub, KINDS["openpose"].weights[0].hub))
    found = obstacle("openpose")
    assert found is not None and found.fix.startswith(
        hub_download("PekingU/rtdetr_r18vd_coco_o365", "config.json")
    )


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_a_plan_with_weights_on_the_machine_makes_maps_and_trains(
    kind: str, hub: Path, home: Path, tmp_path: Path
) -> None:
    write_kind(kind, hub)
    pictures = write_pictures(tmp_path / "pictures", count=2)
    changes: dict[str, object] = {"controlnet__condition": kind, "train__steps": 2}
    plan = quick_plan("builtin:tiny", pictures, method="controlnet", **changes)
    assert [problem for problem in check(plan) if problem.key.startswith("controlnet.")] == []
    with open_training(plan) as training:
        reports = training.train(2)
    assert [report.step for report in reports] == [1, 2]
    assert all(np.isfinite(report.loss) for report in reports)
    picture = np.random.default_rng(0).integers(0, 255, (40, 72, 3), dtype=np.uint8)
    found = maker(kind)(picture)
    assert found.shape == picture.shape and found.dtype == np.uint8 and found.min() < found.max()


def test_a_library_that_cannot_be_imported_is_an_error_of_the_check(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kind("hed", hub)
    site = tmp_path / "site" / "cv2"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(site.parent))
    found = obstacle("canny")
    assert found is not None and "libGL.so.1" in found.why and "condition_path" in found.fix
    monkeypatch.delenv("PYTHONPATH")
    assert obstacle("canny") is None


def test_a_torchvision_of_another_torch_is_an_error_of_the_check(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kind("depth", hub)
    site = tmp_path / "site"
    for folder in ("torchvision", "torchvision-0.29.1.dist-info"):
        (site / folder).mkdir(parents=True)
    (site / "torchvision" / "__init__.py").write_text(BROKEN)
    (site / "torchvision-0.29.1.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.29.1\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    found = obstacle("depth")
    assert found is not None and "torchvision" in found.why
    assert found.fix.startswith(pip_uninstall("torchvision"))


def test_broken_weights_are_an_error_of_the_check(hub: Path) -> None:
    write_kind("lineart", hub)
    file = snapshot_of(hub, "lllyasviel/Annotators") / "sk_model.pth"
    torch.save({"other.weight": torch.zeros(3)}, file)
    found = obstacle("lineart")
    assert found is not None and "sk_model.pth is another model" in found.why


def test_a_model_in_a_folder_stands_in_for_the_usual_one(hub: Path, tmp_path: Path) -> None:
    write_dpt(tmp_path / "dpt")
    picture = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    own = maker("depth", str(tmp_path / "dpt"))(picture)
    write_depth_anything(snapshot_of(hub, KINDS["depth"].weights[0].hub))
    assert not np.array_equal(own, maker("depth")(picture))
    assert annotators.identity("depth") != annotators.identity("depth", str(tmp_path / "dpt"))
    wrong = obstacle("depth", str(tmp_path / "nowhere"))
    assert wrong is not None and "nowhere has no config.json" in wrong.why and "condition_model" in wrong.fix


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (
            (640, 480),
            {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
        ),
        (
            (333, 777),
            {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
        ),
        ((640, 480), {"size": {"height": 384, "width": 384}, "ensure_multiple_of": 1}),
    ],
)
def test_a_picture_is_resized_as_the_models_own_preprocessor_does(
    size: tuple[int, int], said: dict[str, object]
) -> None:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    wide, high = size
    theirs = DPTImageProcessorPil(**said)(np.zeros((high, wide, 3), np.uint8), return_tensors="np")
    assert theirs["pixel_values"].shape[2:] == input_size(wide, high, said)[::-1]


@pytest.mark.parametrize(
    ("net", "published"),
    [
        (Hed(), {"norm": (1, 3, 1, 1), "block1.convs.0.weight": (64, 3, 3, 3), "block5.projection.bias": (1,)}),
        (Drawing(), {"model0.1.weight": (64, 3, 7, 7), "model2.2.conv_block.5.weight": (256, 256, 3, 3),
                     "model3.3.weight": (128, 64, 3, 3), "model4.1.bias": (1,)}),
    ],
    ids=["hed", "lineart"],
)  # fmt: skip
def test_the_networks_have_the_published_names(
    net: torch.nn.Module, published: dict[str, tuple[int, ...]]
) -> None:
    own = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert published.items() <= own.items()
    assert len(own) == (37 if isinstance(net, Hed) else 24)


def test_a_pose_is_drawn_in_openposes_order_and_colours() -> None:
    joints = np.array([[index * 10, 100 + index * 20, 0.9] for index in range(17)], dtype=np.float32)
    body = to_openpose(joints)
    assert body.shape == (18, 3)
    assert body[1].tolist() == pytest.approx([55.0, 210.0, 0.9])
    assert np.array_equal(np.delete(body, 1, axis=0), joints[list(FROM_COCO)])
    body[4, 2] = 0.1
    canvas = np.zeros((512, 512, 3), dtype=np.uint8)
    draw(canvas, body)
    for index, (x, y, score) in enumerate(body):
        there = tuple(canvas[int(y), int(x)]) == COLOURS[index]
        assert there == (score > 0.3), index

"""ControlNet against diffusers itself, from its zero start to its third step, and what it may start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import save_file

from engine.errors import UserError
from engine.models.keymap_controlnet import controlnet_map
from engine.plan.schema import Plan
from tests.methods.plain import Plain
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

SEED = 7


def control_plan(base: Path, folder: Path, method: str, **changes: object) -> Plan:
    pictures = write_pictures(folder / "pictures", count=5)
    conditions = write_conditions(pictures, folder / "conditions")
    named = {f"{method}__condition_path": str(conditions), "train__steps": 3, "data__caption_dropout": 0.0}
    return quick_plan(base, pictures, method=method, seed=SEED, **{**named, **changes})


def steps_of(made: Prepared) -> tuple[list[float], list[dict[str, torch.Tensor]]]:
    """Losses and clipped gradients of every step."""
    losses, gradients = [], []
    for (report,) in made.loop.run(0, lambda step: True):
        losses.append(report.loss)
        found = {item.name: item.parameter.grad for item in made.adapted.trainables}
        gradients.append({name: value.clone() for name, value in found.items() if value is not None})
    return losses, gradients


def control_of(folder: Path, rows: list[int]) -> torch.Tensor:
    """The condition pictures of these rows, [b, 3, h, w] in [0, 1], red first."""
    files = sorted((folder / "conditions").glob("*.webp"))
    arrays = [np.array(Image.open(files[row]).convert("RGB")) for row in rows]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def plain_steps(
    plain: Plain, net: torch.nn.Module, folder: Path, orders: list[list[int]], cubic: bool, residuals: Any
) -> Iterator[tuple[float, dict[str, torch.Tensor]]]:
    """The same steps in plain torch: `residuals(noisy, time, words, control)` are the UNet's extra inputs."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    for module in (plain.unet, plain.encoder):
        module.requires_grad_(False).eval()
    files = sorted((folder / "pictures").glob("*.png"))
    for step, rows in enumerate(orders, 1):
        noisy, time, noise = plain.noisy(step, [(at, files[row]) for at, row in enumerate(rows)], cubic)
        texts = [files[row].with_suffix(".txt").read_text() for row in rows]
        ids = plain.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
        words = plain.encoder(ids)[0]
        extra = residuals(noisy, time, words, control_of(folder, rows))
        loss = ((plain.unet(noisy, time, words, **extra).sample - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        grads = {name: value.grad for name, value in net.named_parameters()}
        yield float(loss), {name: value.clone() for name, value in grads.items() if value is not None}


def assert_same_steps(
    made: Prepared, name: str, expected: list[tuple[float, dict[str, torch.Tensor]]]
) -> None:
    losses, gradients = steps_of(made)
    assert len(losses) == len(expected) == 3
    for loss, ours, (plain_loss, theirs) in zip(losses, gradients, expected, strict=True):
        assert abs(loss - plain_loss) < 1e-6
        assert ours.keys() == {f"{name}.{key}" for key in theirs}
        assert max(float((ours[f"{name}.{key}"] - value).abs().max()) for key, value in theirs.items()) < 1e-6


def orders_of(made: Prepared) -> list[list[int]]:
    return [[int(row) for row in made.feed.order.batch(index)] for index in range(3)]


def test_the_first_prediction_is_the_base_models_own(sd1_folder: Path, tmp_path: Path) -> None:
    made = prepared(control_plan(sd1_folder, tmp_path, "controlnet"), tmp_path / "cache")
    (batch,) = made.feed.step(1, 2)
    times = torch.tensor([10, 900])
    family = made.adapted.family
    with torch.no_grad():
        extra = made.adapted.method.residuals(family, batch.mean, times, batch.cond(), batch.extra)
        values = [*extra["down_block_additional_residuals"], extra["mid_block_additional_residual"]]
        assert all(int(value.count_nonzero()) == 0 for value in values)
        assert len(values) == 13
        guided = family.denoise(batch.mean, times, batch.cond(), extra)
        assert torch.equal(guided, family.denoise(batch.mean, times, batch.cond(), {}))


def test_controlnet_steps_equal_plain_diffusers(small_sd1: Path, tmp_path: Path) -> None:
    made = prepared(control_plan(small_sd1, tmp_path, "controlnet"), tmp_path / "cache")
    plain = Plain.load(small_sd1, SEED)
    net = ControlNetModel.from_unet(plain.unet).train()
    # Only the embedding's first layers are drawn; all else is the UNet's or zero.
    own: Any = made.adapted.method.modules()["controlnet"]
    drawn = own.controlnet_cond_embedding.state_dict()
    assert all(
        torch.equal(value, own.state_dict()[name])
        for name, value in net.state_dict().items()
        if not name.startswith("controlnet_cond_embedding")
    )
    net.controlnet_cond_embedding.load_state_dict({name: value.clone() for name, value in drawn.items()})

    def residuals(noisy: Any, time: Any, words: Any, control: Any) -> dict[str, Any]:
        down, mid = net(noisy, time, words, control, return_dict=False)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

    expected = list(plain_steps(plain, net, tmp_path, orders_of(made), False, residuals))
    assert_same_steps(made, "controlnet", expected)


def test_a_run_starts_from_the_same_weights_again(small_sd1: Path, tmp_path: Path) -> None:
    plan = control_plan(small_sd1, tmp_path, "controlnet")
    first = weights(prepared(plan, tmp_path / "cache"))
    torch.manual_seed(99)
    second = weights(prepared(plan, tmp_path / "cache"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_gradient_checkpointing_changes_no_weight(small_sd1: Path, tmp_path: Path) -> None:
    changes: list[dict[str, torch.Tensor]] = []
    for number, choice in enumerate((False, True)):
        plan = control_plan(
            small_sd1, tmp_path / str(number), "controlnet", hardware__gradient_checkpointing=choice
        )
        made = prepared(plan, tmp_path / "cache")
        own: Any = made.adapted.method.modules()["controlnet"]
        assert own.is_gradient_checkpointing is choice
        run_steps(made, until=2)
        changes.append(weights(made))
    assert all(torch.allclose(value, changes[1][name], atol=1e-6) for name, value in changes[0].items())


@pytest.mark.parametrize("layout", ["diffusers", "ldm", "ldm without prefix", "folder"])
def test_training_goes_on_from_an_existing_controlnet(layout: str, small_sd1: Path, tmp_path: Path) -> None:
    plan = control_plan(small_sd1, tmp_path, "controlnet")
    trained = prepared(plan, tmp_path / "cache")
    run_steps(trained, until=2)
    artifact = trained.adapted.method.artifact(trained.adapted.family)
    names = controlnet_map(trained.adapted.family.configs["unet"])
    file = tmp_path / "older" / "diffusion_pytorch_model.safetensors"
    file.parent.mkdir()
    tensors = artifact.tensors
    if layout.startswith("ldm"):
        cut = "control_model." if "without" in layout else ""
        tensors = {names[name].removeprefix(cut): value for name, value in tensors.items()}
    save_file(tensors, file)
    start = file.parent if layout == "folder" else file
    again = prepared(
        control_plan(small_sd1, tmp_path / "b", "controlnet", controlnet__start=str(start)),
        tmp_path / "cache",
    )
    found = weights(again)
    assert all(torch.equal(found[f"controlnet.{name}"], value) for name, value in artifact.tensors.items())


def test_a_controlnet_of_another_family_is_refused_by_name(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    made = prepared(control_plan(narrow_models["sd1"], tmp_path, "controlnet"), tmp_path / "cache")
    file = tmp_path / "sd1-control.safetensors"
    save_file(made.adapted.method.artifact(made.adapted.family).tensors, file)
    plan = control_plan(narrow_models["sdxl"], tmp_path / "b", "controlnet", controlnet__start=str(file))
    with pytest.raises(UserError, match=r"sd1-control\.safetensors does not fit"):
        prepared(plan, tmp_path / "cache")


def test_one_channel_conditions_are_the_pictures_brightness(small_sd1: Path, tmp_path: Path) -> None:
    plan = control_plan(small_sd1, tmp_path, "controlnet", controlnet__channels="1")
    made = prepared(plan, tmp_path / "cache")
    (batch,) = made.feed.step(1, 2)
    assert batch.extra["control"].shape == (2, 1, 64, 64)
    rows = orders_of(made)[0]
    red, green, blue = control_of(tmp_path, rows).unbind(1)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    assert float((batch.extra["control"][:, 0] - grey).abs().max()) < 0.005
    assert run_steps(made, until=1)[0].loss > 0

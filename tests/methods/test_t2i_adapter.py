"""T2I-Adapters against diffusers itself: SD 1.x step by step, SDXL's features where its UNet takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import T2IAdapter, UNet2DConditionModel

from engine.errors import UserError
from engine.export.registry import export
from tests.export.tiny_models import request
from tests.methods.plain import Plain
from tests.methods.test_controlnet import SEED, assert_same_steps, control_plan, orders_of, plain_steps
from tests.support.sessions import Prepared, prepared, run_steps, weights


def own_net(made: Prepared) -> Any:
    return made.adapted.method.modules()["t2i_adapter"]


def twin(made: Prepared, **config: Any) -> T2IAdapter:
    """diffusers' own adapter of this config, with the same starting weights."""
    net = T2IAdapter(num_res_blocks=2, **config).train()
    net.load_state_dict({name: value.clone() for name, value in own_net(made).state_dict().items()})
    return net


def test_adapter_steps_equal_plain_diffusers(sd1_folder: Path, tmp_path: Path) -> None:
    plan = control_plan(sd1_folder, tmp_path, "t2i_adapter", objective__timesteps="cubic")
    made = prepared(plan, tmp_path / "cache")
    plain = Plain.load(sd1_folder, SEED)
    net = twin(
        made, in_channels=3, channels=[48, 64, 64, 48], downscale_factor=8, adapter_type="full_adapter"
    )

    def residuals(noisy: Any, time: Any, words: Any, control: Any) -> dict[str, Any]:
        return {"down_intrablock_additional_residuals": list(net(control))}

    expected = list(plain_steps(plain, net, tmp_path, orders_of(made), True, residuals))
    assert_same_steps(made, "t2i_adapter", expected)


def test_the_xl_adapters_features_reach_three_levels_and_the_middle(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base = narrow_models["sdxl"]
    made = prepared(control_plan(base, tmp_path, "t2i_adapter"), tmp_path / "cache")
    (batch,) = made.feed.step(1, 2)
    family, times = made.adapted.family, torch.tensor([10, 900])
    cond = family.with_geometry(batch.cond(), batch.sizes)
    net = twin(
        made, in_channels=3, channels=[16, 32, 64, 64], downscale_factor=16, adapter_type="full_adapter_xl"
    )
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32)
    features = net(batch.extra["control"])
    # As StableDiffusionXLAdapterPipeline hands them over: one list, from which the UNet takes what fits.
    rest = [feature.detach().clone() for feature in features]
    with torch.no_grad():
        expected = unet(
            batch.mean, times, cond.hidden, added_cond_kwargs=dict(cond.extra),
            down_intrablock_additional_residuals=rest,
        ).sample  # fmt: skip
        extra = made.adapted.method.residuals(family, batch.mean, times, cond, batch.extra)
        found = family.denoise(batch.mean, times, cond, extra)
    assert not rest, "the UNet took every feature"
    assert float((found - expected).abs().max()) < 1e-5
    without = family.denoise(batch.mean, times, cond, {})
    assert float((found - without).abs().max()) > 1e-3


@pytest.mark.parametrize(("channels", "inputs"), [("1", 64), ("3", 192)])
def test_the_first_convolution_takes_eight_by_eight_pixels_of_each_channel(
    channels: str, inputs: int, sd1_folder: Path, tmp_path: Path
) -> None:
    plan = control_plan(sd1_folder, tmp_path, "t2i_adapter", t2i_adapter__channels=channels)
    made = prepared(plan, tmp_path / "cache")
    assert own_net(made).adapter.conv_in.weight.shape == (48, inputs, 3, 3)


def test_a_light_adapter_trains(narrow_models: dict[str, Path], tmp_path: Path) -> None:
    plan = control_plan(narrow_models["sd2-eps"], tmp_path, "t2i_adapter", t2i_adapter__kind="light_adapter")
    made = prepared(plan, tmp_path / "cache")
    start = weights(made)
    run_steps(made, until=2)
    moved = [name for name, value in weights(made).items() if not torch.equal(value, start[name])]
    assert len(moved) > len(start) / 2


@pytest.mark.parametrize(
    ("model", "kind"), [("sdxl", "light_adapter"), ("sdxl", "full_adapter"), ("sd1", "full_adapter_xl")]
)
def test_an_adapter_of_another_family_is_refused(
    model: str, kind: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    plan = control_plan(narrow_models[model], tmp_path, "t2i_adapter", t2i_adapter__kind=kind)
    with pytest.raises(UserError, match=kind):
        prepared(plan, tmp_path / "cache")


@pytest.mark.parametrize("form", ["t2i_adapter", "t2i_adapter_folder", "t2i_adapter_tencent"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_training_goes_on_from_each_form(
    form: str, family: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base = narrow_models[family]
    trained = prepared(control_plan(base, tmp_path, "t2i_adapter"), tmp_path / "cache")
    run_steps(trained, until=2)
    artifact = trained.adapted.method.artifact(trained.adapted.family)
    out = tmp_path / ("older" if form.endswith("folder") else "older.safetensors")
    export(form, request(artifact, out, family))
    plan = control_plan(base, tmp_path / "b", "t2i_adapter", t2i_adapter__start=str(out))
    found = weights(prepared(plan, tmp_path / "cache"))
    assert all(torch.equal(found[f"t2i_adapter.{name}"], value) for name, value in artifact.tensors.items())


def test_an_adapter_of_another_family_is_refused_by_name(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    made = prepared(control_plan(narrow_models["sd1"], tmp_path, "t2i_adapter"), tmp_path / "cache")
    out = tmp_path / "older.safetensors"
    export("t2i_adapter", request(made.adapted.method.artifact(made.adapted.family), out))
    plan = control_plan(narrow_models["sdxl"], tmp_path / "b", "t2i_adapter", t2i_adapter__start=str(out))
    with pytest.raises(UserError, match=r"t2i_adapter\.start: .*does not fit"):
        prepared(plan, tmp_path / "cache")

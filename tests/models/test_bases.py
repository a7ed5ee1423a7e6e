"""Finding base models: built in, folders, files and the hub cache; what is none is refused with a way out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.hub import hub_cache, snapshot
from engine.models import apart
from engine.models.bases import builtin_models, known_bases, locate, tokenizer_folder
from tests.support.loaded import as_file


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in one file."""
    return as_file(builtin_models()["tiny"], tmp_path_factory.mktemp("whole") / "tiny" / "tiny.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds the tiny model as owner/tiny."""
    cache = tmp_path / "hub"
    folder = cache / "models--owner--tiny"
    shutil.copytree(builtin_models()["tiny"], folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return cache


def test_the_builtin_model_is_a_tiny_sd1() -> None:
    info = locate("builtin:tiny")
    assert (info.kind, info.family, info.tiny, info.native_resolution) == ("builtin", "sd1", True, 64)
    assert info.prediction == "epsilon" and info.reasons


def test_a_folder_is_found_by_its_path() -> None:
    info = locate(str(builtin_models()["tiny"]))
    assert (info.kind, info.family) == ("folder", "sd1")


def test_a_hub_id_is_looked_up_in_the_cache_only(hub: Path) -> None:
    info = locate("owner/tiny")
    assert info.kind == "hub" and info.path == snapshot("owner/tiny")
    with pytest.raises(UserError) as caught:
        locate("owner/other")
    assert "allow_download" in caught.value.fix


def test_a_hub_model_that_may_be_downloaded_is_not_known_yet(hub: Path) -> None:
    info = locate("owner/other", allow_download=True)
    assert info.path is None and info.family == ""


def test_without_a_ref_the_newest_snapshot_counts(hub: Path) -> None:
    (hub / "models--owner--tiny" / "refs" / "main").unlink()
    assert snapshot("owner/tiny") == hub / "models--owner--tiny" / "snapshots" / "abc"


def test_a_ref_cannot_lead_out_of_the_cache(hub: Path) -> None:
    (hub / "models--owner--tiny" / "refs" / "main").write_text("../../..")
    assert snapshot("owner/tiny") == hub / "models--owner--tiny" / "snapshots" / "abc"


def test_the_hub_cache_is_where_the_hubs_client_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path.home() / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", "/somewhere")
    assert hub_cache() == Path("/somewhere/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert hub_cache() == Path("/elsewhere")


@pytest.mark.parametrize(
    "text", ["", "builtin:tinny", "/nowhere", "./nowhere.safetensors", "nowhere", "a/b/c"]
)
def test_what_is_no_model_is_a_user_error_with_a_way_out(text: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(text)
    assert caught.value.what and caught.value.fix


def test_close_names_are_suggested() -> None:
    for text in ("builtin:tinny", "tiny"):
        with pytest.raises(UserError) as caught:
            locate(text)
        assert "builtin:tiny" in caught.value.fix


def test_known_bases_lists_builtin_folders_and_the_hub(hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(builtin_models()["tiny"], folder / "mine")
    (folder / "broken.safetensors").write_bytes(b"no model")
    names = [info.model for info in known_bases([folder, tmp_path / "missing"])]
    assert names == ["builtin:tiny", str(folder / "mine"), "owner/tiny"]


def test_the_tokenizer_comes_from_the_plan_the_base_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    info = locate("builtin:tiny")
    assert info.path is not None
    assert tokenizer_folder(info) == info.path / "tokenizer"
    assert tokenizer_folder(info, str(tmp_path)) is None
    assert tokenizer_folder(info, str(info.path / "tokenizer")) == info.path / "tokenizer"


def test_a_pickle_that_nothing_is_learnt_of_in_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.zeros(1)}, tmp_path / "model.ckpt")
    monkeypatch.setattr(apart, "LOOK_S", 0.001)
    with pytest.raises(UserError, match="could not be looked at") as caught:
        locate(str(tmp_path / "model.ckpt"))
    assert "slow" in caught.value.why


def test_a_pickle_is_looked_at_in_another_process(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    file = tmp_path / "model.ckpt"
    torch.save({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, file)
    code = (
        "import sys\nfrom engine.errors import UserError\nfrom engine.models.bases import locate\n"
        f"try:\n    locate({str(file)!r})\nexcept UserError as error:\n    print(error.what)\n"
        "print([name for name in ('torch', 'numpy.random') if name in sys.modules][:1] == ['torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, has_torch = done.stdout.splitlines()
    assert str(file) in said and "LoRA" in said
    assert has_torch == "False"


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ("model.diffusion_model.middle_block.1.proj_in.weight", "1 tensors of the unet are missing"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "of the text_encoder are missing"),
        ("first_stage_model.decoder.conv_out.bias", "1 tensors of the vae are missing"),
    ],
)
def test_a_file_that_lacks_a_tensor_is_named_before_anything_is_loaded(
    suffix: str, cut: str, said: str, whole_file: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(whole_file)
    del tensors[cut]
    file = tmp_path / f"model{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": tensors}, file)
    else:
        save_file(tensors, file)
    with pytest.raises(UserError) as caught:
        locate(str(file))
    assert said in caught.value.what
    assert cut in caught.value.why


def test_a_whole_file_is_found(whole_file: Path) -> None:
    assert (locate(str(whole_file)).family, locate(str(whole_file)).lacks) == ("sd1", ())

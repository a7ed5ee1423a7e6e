"""Downloads from a hub on this machine: progress, an end in the middle, going on, checksums, refusals."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.downloads import PIPELINE_FILES, download
from engine.errors import UserError
from engine.hub import snapshot, unfinished
from engine.models.bases import locate
from tests.support.fake_hub import Hub, etag, serving

MODEL = "owner/small"


@pytest.fixture
def hub(small_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with serving({MODEL: small_sd1}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


class Told:
    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int]] = []

    def __call__(self, text: str, done: int, total: int) -> None:
        self.lines.append((text, done, total))


def test_a_pipeline_comes_whole_and_can_be_used(hub: Hub, small_sd1: Path) -> None:
    told = Told()
    folder = download(MODEL, PIPELINE_FILES, told)
    assert folder == snapshot(MODEL)
    for name in hub.files(MODEL):
        assert (folder / name).read_bytes() == (small_sd1 / name).read_bytes(), name
    assert not unfinished(MODEL).exists()
    assert locate(MODEL).family == "sd1"
    assert all(0 <= done <= total for _, done, total in told.lines)


class Leave(Exception):
    pass


def test_a_download_that_is_left_is_no_model_yet_and_goes_on_later(hub: Hub) -> None:
    hub.gate.clear()

    def leave(text: str, done: int, total: int) -> None:
        if hub.waiting.is_set():
            raise Leave

    with pytest.raises(Leave):
        download(MODEL, PIPELINE_FILES, leave)
    assert unfinished(MODEL).exists()
    with pytest.raises(UserError, match="not finished"):
        locate(MODEL)
    assert locate(MODEL, allow_download=True).path is None
    hub.gate.set()
    whole = {name for name in hub.files(MODEL) if name.endswith(".json")}
    hub.asked.clear()
    folder = download(MODEL, PIPELINE_FILES, Told())
    again = {
        name for name in whole if any(line.startswith("GET") and line.endswith(name) for line in hub.asked)
    }
    assert again < whole, "what had come whole is not fetched twice"
    assert locate(MODEL).path == folder


def test_a_hub_that_says_nothing_can_be_left(hub: Hub) -> None:
    hub.silent = True
    hub.gate.clear()

    def leave(text: str, done: int, total: int) -> None:
        if hub.waiting.is_set():
            raise Leave

    with pytest.raises(Leave):
        download(MODEL, PIPELINE_FILES, leave)


def test_other_bytes_than_the_hub_says_are_taken_away_and_fetched_again(hub: Hub) -> None:
    name = "unet/diffusion_pytorch_model.safetensors"
    assert name in hub.files(MODEL)
    hub.spoil = {name, "unet/config.json"}
    for _ in range(2):
        with pytest.raises(UserError, match="other bytes"):
            download(MODEL, PIPELINE_FILES, Told())
        assert unfinished(MODEL).exists()
    hub.spoil = set()
    with pytest.raises(UserError, match="other bytes"):
        download(MODEL, PIPELINE_FILES, Told())
    folder = download(MODEL, PIPELINE_FILES, Told())
    assert etag((folder / name).read_bytes()) == etag(hub.data(MODEL, name))


@pytest.mark.parametrize("way", ["unknown", "no network"])
def test_what_the_hub_does_not_give_is_said_with_another_way(
    way: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "no network":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        download("owner/nothing", PIPELINE_FILES, Told())
    assert "download owner/nothing" in caught.value.fix

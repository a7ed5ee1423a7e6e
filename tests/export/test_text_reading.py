"""A file says from which layer of the text encoder, and how far, captions were read."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from engine.export.registry import export
from tests.export.tiny_models import adapt, artifact_of, make_parts, request


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize(
    ("skip", "tokens", "said"),
    [(1, 75, ("None", "None", None)), (2, 225, ("2", "225", "2"))],
)
def test_a_file_says_which_layer_was_read_and_how_many_tokens(
    skip: int, tokens: int, said: tuple[str, str, str | None], tmp_path: Path
) -> None:
    parts = make_parts("sd1")
    adapt(parts["unet"], ["to_q"], r=2)
    asked = request(
        artifact_of({"unet": parts["unet"]}, rank=2, alpha=2.0, rslora=False, dora=False),
        tmp_path / "cat.safetensors",
        "sd1",
    )
    about = replace(asked.about, clip_skip=skip, max_tokens=tokens)
    found = _metadata(export("kohya", replace(asked, about=about)).path)
    keys = ("ss_clip_skip", "ss_max_token_length", "modelspec.encoder_layer")
    assert tuple(map(found.get, keys)) == said

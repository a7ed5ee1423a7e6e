"""What the makers with weights share: pictures as tensors, and models of a folder, from safetensors and offline."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from engine.dataset.images import Pixels
from engine.errors import UserError
from engine.tensorfiles.pickles import load as load_pickle

# The usual normalisation (ImageNet), where a model's folder says no other.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained(auto: Any, folder: Path) -> Any:
    """A transformers model of a folder: no network, no pickles, no code of the folder."""
    model = auto.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return model.float().eval()


def from_pickle(net: nn.Module, file: Path) -> nn.Module:
    """`net` with the weights of a .pth file, read without executing anything."""
    try:
        net.load_state_dict(load_pickle(file))
    except RuntimeError as error:
        why = f"its tensors are not those of {type(net).__name__}"
        raise UserError(f"{file} is another model", why, "download the file again") from error
    return net.float().eval()


def preparation(folder: Path) -> Mapping[str, Any]:
    """What the model's folder says about its input; empty where it says nothing."""
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def resized(picture: Pixels, width: int, height: int, how: Image.Resampling) -> Pixels:
    """The picture at another size."""
    return np.array(Image.fromarray(picture).resize((width, height), how))


def as_tensor(
    picture: Pixels, mean: Sequence[float] = (0.0, 0.0, 0.0), std: Sequence[float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """[1, 3, h, w] of a picture (uint8, H x W x 3), in [0, 1] and then normalised."""
    values = (picture.astype(np.float32) / 255.0 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None].float()


def grey(values: npt.NDArray[Any]) -> Pixels:
    """A map in [0, 1], [h, w], as a picture of three equal channels."""
    channel = (np.nan_to_num(values) * 255.0).clip(0, 255).astype(np.uint8)
    return np.repeat(channel[:, :, None], 3, axis=2)

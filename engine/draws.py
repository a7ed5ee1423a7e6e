"""Every random tensor of training, keyed by (seed, purpose, step, slot) and never by what came before.

A slot is a sample's place in the whole effective batch, so splitting a batch changes no draw.

All bits come from Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), whose raw
stream NumPy freezes (NEP 19). Its key is `wide_key(seed, purpose)`, its counter [block, slot, step, 0]: under one key
no two (step, slot) share a block, and two keys meet with a chance of 2**-128.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.keys import key, uniform, wide_key

VERSION = 2
"""Changes whenever a key comes to give other numbers, so that a run that began with others can say so.

1, which checkpoints do not name: torch's Mersenne Twister under 32 bits of the key.
"""
# Where torch's state of a CPU generator holds the twister's words, each in eight bytes.
_TWISTER, _TWISTER_WORDS = 24, 624


def normal(seed: int, purpose: str, step: int, slots: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal fp32 noise, [len(slots), *shape], at most 6.8 from zero.

    Word i of a slot, lane i % 4 of block 1 + i // 4, gives the values 2i and 2i + 1 by Box and Muller's transform
    (1958): its upper half the radius, its lower half the angle. The transform runs in fp64 and is rounded to fp32,
    which hides the last digits in which libraries differ. No value needs another one, so a CUDA kernel can draw any
    of them where it is needed: the words exactly, the values up to that rounding.
    """
    count = math.prod(shape)
    out = torch.empty(len(slots), count)
    for row, slot in zip(out, slots, strict=True):
        row.copy_(_normals(_words(wide_key(seed, purpose), -(-count // 2), slot, step))[:count])
    return out.view(len(slots), *shape)


def _words(wide: int, count: int, slot: int = 0, step: int = 0) -> npt.NDArray[np.uint64]:
    counter = np.array([0, slot, step, 0], dtype=np.uint64)
    return np.random.Philox(key=wide, counter=counter).random_raw(count)


def _normals(words: npt.NDArray[np.uint64]) -> Tensor:
    halves = torch.from_numpy(words.astype("<u8", copy=False).view("<u4").reshape(-1, 2).astype(np.float64))
    angle, share = halves.unbind(1)
    radius = share.add(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = angle.mul(math.tau * 2.0**-32)
    return torch.stack([angle.cos().mul_(radius), angle.sin().mul_(radius)], dim=1).view(-1).float()


def uniforms(seed: int, purpose: str, step: int, slots: Sequence[int]) -> list[float]:
    """A number from [0, 1) for each slot."""
    return [uniform(seed, purpose, step, slot) for slot in slots]


def flags(seed: int, purpose: str, step: int, slots: Sequence[int], probability: float) -> list[bool]:
    """For each slot: did an event of this probability happen?"""
    return [draw < probability for draw in uniforms(seed, purpose, step, slots)]


def words16(
    seed: int, purpose: str, step: int, slot: int, shape: Sequence[int], device: torch.device
) -> Tensor:
    """Whole numbers from 0 to 65535, as many as `shape` has places, int32 on the device.

    On a CPU they are the words of the key, four numbers each; CUDA draws them itself (its generator is a Philox too)
    under 63 bits of the key, because a whole model's would take longer to draw here than a step takes there.
    """
    if device.type == "cpu":
        count = math.prod(shape)
        words = _words(wide_key(seed, purpose), -(-count // 4), slot, step).astype("<u8", copy=False)
        return torch.from_numpy(words.view("<u2")[:count].astype(np.int32)).view(*shape)
    made = torch.Generator(device).manual_seed(key(seed, purpose, step, slot) >> 1)
    return torch.randint(0, 1 << 16, tuple(shape), generator=made, dtype=torch.int32, device=device)


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for laws that torch draws itself; CPU, so that every device sees the same numbers.

    torch seeds its Mersenne Twister with 32 bits: the whole key comes in as the twister's state.
    """
    made = torch.Generator().manual_seed(0)
    state = made.get_state()
    words = _words(wide_key(seed, *parts), _TWISTER_WORDS // 2).astype("<u8", copy=False).view("<u4")
    state.numpy()[_TWISTER : _TWISTER + 8 * _TWISTER_WORDS] = words.astype("<u8").view(np.uint8)
    return made.set_state(state)


@contextmanager
def keyed(seed: int, *parts: int | str) -> Iterator[None]:
    """Inside, torch's global CPU generator is `generator(seed, *parts)`; afterwards it goes on as if nothing was.

    For constructors that draw their own weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(seed, *parts).get_state())
        yield


def set_global(seed: int, *parts: int | str) -> None:
    """Set torch's global generators by key, for dropout layers, which know no other; CUDA's takes 63 bits of it."""
    torch.set_rng_state(generator(seed, *parts).get_state())
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(key(seed, *parts) >> 1)

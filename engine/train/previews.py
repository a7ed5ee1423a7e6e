"""Sample pictures of a run: always the same prompts and seeds, a failed one is an event and not the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from engine.families.base import Conditioning, Geometry, Residuals, ResidualsOf
from engine.files import write_atomic
from engine.plan.schema import Plan
from engine.run.kinds import Sample
from engine.train.evaluating import evaluating
from engine.train.sampling import PreviewRequest, draw
from engine.train.setup import AdaptedModel
from engine.train.similarity import Comparison

THUMB_SIDE = 256


@dataclass(frozen=True)
class Prompt:
    """One preview: its text, its seed, where it stands in the list, and what else the method needs of it."""

    index: int
    text: str
    seed: int
    extra: Mapping[str, Tensor] = field(default_factory=dict)


def listed(plan: Plan, prompts: Sequence[str], extras: Sequence[Mapping[str, Tensor]] = ()) -> list[Prompt]:
    """The prompts with their seeds. `extras` are the method's own inputs (a condition picture [1, c, h, w]) by
    prompt."""
    return [
        Prompt(index, text, plan.samples.seed + index, extras[index % len(extras)] if extras else {})
        for index, text in enumerate(prompts)
    ]


class Painter:
    """Draws a prompt with the model as it is, at the plan's steps, guidance and size."""

    def __init__(
        self,
        plan: Plan,
        adapted: AdaptedModel,
        averaged: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Inside `averaged` the weights are those that are to be shown."""
        self.plan = plan
        self.adapted = adapted
        self.averaged = averaged
        side = plan.data.resolution
        self.size = (plan.samples.width or side, plan.samples.height or side)
        self.text_trains = any(adapted.family.parts[part].training for part in adapted.family.spec.text_parts)
        self._embedded: dict[str, Conditioning] = {}

    def picture(self, prompt: Prompt) -> Image.Image:
        """One picture; nothing is written. The gradients of the last update leave: nothing needs them any more."""
        adapted, samples = self.adapted, self.plan.samples
        with evaluating(adapted), self.averaged():
            request = PreviewRequest(
                self._cond(prompt.text),
                self._cond(samples.negative),
                prompt.seed,
                samples.steps,
                samples.guidance,
                *self.size,
                samples.guidance_rescale,
            )
            pixels = draw(
                adapted.family,
                request,
                adapted.device,
                self._residuals(prompt),
                adapted.autoencoder.decode,
            )
        return to_image(pixels)

    def _residuals(self, prompt: Prompt) -> ResidualsOf:
        extra = {name: value.to(self.adapted.device) for name, value in prompt.extra.items()}

        def residuals(noisy: Tensor, timesteps: Tensor, cond: Conditioning) -> Residuals:
            batch = {name: value.expand(len(noisy), *value.shape[1:]) for name, value in extra.items()}
            return self.adapted.method.residuals(self.adapted.family, noisy, timesteps, cond, batch)

        return residuals

    def _cond(self, text: str) -> Conditioning:
        family = self.adapted.family
        if self.text_trains or text not in self._embedded:
            with self.adapted.idle.here(*family.spec.text_parts):
                cond = family.encode_text(family.tokenize([text]))
            sizes = [Geometry((self.size[1], self.size[0]), (0, 0), (self.size[1], self.size[0]))]
            cond = family.with_geometry(cond, sizes)
            if self.text_trains:
                return cond
            self._embedded[text] = cond
        return self._embedded[text]


class Previewer(Painter):
    """Draws the plan's prompts, writes the pictures and tells the run about each."""

    def __init__(
        self,
        plan: Plan,
        adapted: AdaptedModel,
        folder: Path,
        tell: Callable[[Sample], object],
        prompts: Sequence[str],
        extras: Sequence[Mapping[str, Tensor]] = (),
        averaged: Callable[[], AbstractContextManager[None]] = nullcontext,
        comparison: Comparison | None = None,
    ) -> None:
        """`extras` as in `listed`, `averaged` as in Painter; `tell` hears of each picture, drawn or not, and with a
        `comparison` of how near it is to its prompt and to the pictures."""
        super().__init__(plan, adapted, averaged)
        self.comparison = comparison
        self.folder = folder
        self.tell = tell
        self.prompts = listed(plan, prompts, extras)

    def draw_all(self, step: int, without: Collection[int] = ()) -> int:
        """Draw every prompt whose place is not in `without`; returns how many pictures came out."""
        return sum(self.draw_one(step, prompt) for prompt in self.prompts if prompt.index not in without)

    def draw_extra(self, step: int, text: str) -> bool:
        """One picture of a prompt that is not in the plan."""
        index = len(self.prompts)
        extra = self.prompts[0].extra if self.prompts else {}
        return self.draw_one(step, Prompt(index, text, self.plan.samples.seed, extra))

    def draw_one(self, step: int, prompt: Prompt) -> bool:
        """Draw one prompt and write the picture, its thumbnail and its event."""
        sample = Sample(step, prompt.index, prompt.text, prompt.seed)
        try:
            picture = self.picture(prompt)
            name = f"step-{step:08d}-{prompt.index:02d}"
            if self.comparison is not None:
                found = self.comparison.compare(picture, prompt.text)
                sample = replace(sample, to_prompt=found.prompt, to_pictures=found.pictures)
            path, thumb = self._write(picture, name)
        except Exception as error:  # noqa: BLE001 - whatever a picture meets, the training goes on
            if self.adapted.device.type == "cuda":
                torch.cuda.empty_cache()
            self.tell(replace(sample, error=f"{type(error).__name__}: {error}"[:500]))
            return False
        self.tell(replace(sample, path=path, thumb=thumb))
        return True

    def _write(self, picture: Image.Image, name: str) -> tuple[str, str]:
        from io import BytesIO

        full, small = BytesIO(), BytesIO()
        picture.save(full, "PNG")
        picture.thumbnail((THUMB_SIDE, THUMB_SIDE))
        picture.save(small, "JPEG", quality=90)
        path, thumb = self.folder / f"{name}.png", self.folder / "thumbs" / f"{name}.jpg"
        thumb.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, full.getvalue())
        write_atomic(thumb, small.getvalue())
        return str(path.relative_to(self.folder.parent)), str(thumb.relative_to(self.folder.parent))


def to_image(pixels_chw: Tensor) -> Image.Image:
    """A picture from pixels in [-1, 1], [3, h, w]; values that are not finite become black."""
    values = torch.nan_to_num(pixels_chw, nan=-1.0).clamp(-1, 1)
    array = ((values + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array)

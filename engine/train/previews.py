"""Sample pictures of a run: always the same prompts and seeds, a failed one is an event and not the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from engine.families.base import Conditioning, Geometry
from engine.plan.schema import Plan
from engine.run.events import EventWriter
from engine.run.files import write_atomic
from engine.train.sampling import Shot, draw
from engine.train.setup import Ready

THUMB_SIDE = 256


@dataclass(frozen=True)
class Prompt:
    """One preview: its text, its seed and where it stands in the list."""

    index: int
    text: str
    seed: int


class Previewer:
    """Draws the plan's prompts with the model as it is and tells the run about each picture."""

    def __init__(
        self, plan: Plan, ready: Ready, folder: Path, writer: EventWriter, prompts: Sequence[str]
    ) -> None:
        self.plan = plan
        self.ready = ready
        self.folder = folder
        self.writer = writer
        self.prompts = [Prompt(index, text, plan.samples.seed + index) for index, text in enumerate(prompts)]
        side = plan.data.resolution
        self.size = (plan.samples.width or side, plan.samples.height or side)
        self.text_trains = any(ready.family.parts[part].training for part in ready.family.spec.text_parts)
        self._embedded: dict[str, Conditioning] = {}

    def draw_all(self, step: int) -> int:
        """Draw every prompt; returns how many pictures came out."""
        return sum(self.draw_one(step, prompt) for prompt in self.prompts)

    def draw_extra(self, step: int, text: str) -> bool:
        """One picture of a prompt that is not in the plan."""
        index = len(self.prompts)
        return self.draw_one(step, Prompt(index, text, self.plan.samples.seed))

    def draw_one(self, step: int, prompt: Prompt) -> bool:
        """Draw one prompt and write the picture, its thumbnail and its event."""
        about = {"step": step, "index": prompt.index, "prompt": prompt.text, "seed": prompt.seed}
        try:
            picture = self._picture(prompt)
            name = f"step-{step:08d}-{prompt.index:02d}"
            path, thumb = self._write(picture, name)
        except (torch.OutOfMemoryError, RuntimeError, OSError) as error:
            if self.ready.device.type == "cuda":
                torch.cuda.empty_cache()
            self.writer.emit("sample", **about, error=f"{type(error).__name__}: {error}"[:500])
            return False
        self.writer.emit("sample", **about, path=path, thumb=thumb)
        return True

    def _picture(self, prompt: Prompt) -> Image.Image:
        ready, samples = self.ready, self.plan.samples
        modules = [part for part in ready.family.parts.values() if part.training]
        for module in modules:
            module.eval()
        try:
            with (
                torch.no_grad(),
                torch.autocast(ready.device.type, dtype=ready.autocast, enabled=ready.autocast is not None),
            ):
                shot = Shot(
                    self._cond(prompt.text), self._cond(samples.negative), prompt.seed, samples.steps,
                    samples.guidance, *self.size,
                )  # fmt: skip
                pixels = draw(ready.family, shot, ready.device)
        finally:
            for module in modules:
                module.train()
        return to_image(pixels)

    def _cond(self, text: str) -> Conditioning:
        family = self.ready.family
        if self.text_trains or text not in self._embedded:
            cond = family.encode_text(family.tokenize([text]))
            sizes = [Geometry((self.size[1], self.size[0]), (0, 0), (self.size[1], self.size[0]))]
            cond = family.with_geometry(cond, sizes)
            if self.text_trains:
                return cond
            self._embedded[text] = cond
        return self._embedded[text]

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

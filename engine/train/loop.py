"""The training loop: for each step its batches, one loss, one update. It knows the two protocols and nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from engine import draws
from engine.families.base import Conditioning, Geometry, ModelFamily
from engine.methods.base import Method, Trainable
from engine.plan.schema import Plan
from engine.train.ahead import DrawsAhead, Outline, held, sent
from engine.train.compiling import compile_error, gradient_error, make_eager
from engine.train.ema import average_of
from engine.train.noise import noises
from engine.train.objective import sample_losses
from engine.train.optimizers import make_optimizer, schedule_factor, set_learning_rates, update_of
from engine.train.release import release_of
from engine.train.sparing import Sparing, free_cache, renewed
from engine.train.world import ALONE, World

# What compiled gradients may differ by, of their norm: rounding makes some 1e-6 of it in fp32 and a few % in bf16.
MOST_ERROR, MOST_ERROR_HALF = 1e-3, 0.1


@dataclass(frozen=True)
class Batch:
    """Samples that run together. `slots` are their places in the step's whole batch; `mean` and `std`
    [b, c, h, w] describe the latents; `cond` gives the conditioning, and is called inside the step, where a text
    encoder may train; `weights` weigh the loss, [b] a sample's or [b, 1, h, w] each place's; `extra` is for the
    method."""

    slots: tuple[int, ...]
    mean: Tensor
    std: Tensor
    cond: Callable[[], Conditioning]
    weights: Tensor
    sizes: tuple[Geometry, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


class Feed(Protocol):
    """Where batches come from: all of a step's that are this process's, each with at most `limit` samples; what is
    known of them beforehand; `learning_rate_factor` is what the plan's rate is multiplied by."""

    def step(self, step: int, limit: int) -> Iterator[Batch]: ...

    def outline(self, step: int, limit: int) -> Outline: ...

    def epoch(self, step: int) -> float: ...

    def learning_rate_factor(self, step: int) -> float: ...


@dataclass(frozen=True)
class StepReport:
    """One finished update. `skipped` means that loss or gradients were not finite and no weight moved."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    skipped: bool
    images_per_s: float
    epoch: float


@dataclass
class Loop:
    """All that a step needs; build it, then iterate `run`."""

    plan: Plan
    family: ModelFamily
    method: Method
    trainables: Sequence[Trainable]
    feed: Feed
    device: torch.device
    autocast: torch.dtype | None
    warn: Callable[[str, str], None]
    report_every_s: float = 0.0
    world: World = ALONE
    sparing: Sparing = field(default_factory=Sparing)

    def __post_init__(self) -> None:
        reachable = {id(value) for part in self.family.parts.values() for value in part.parameters()}
        own = self.method.modules().values()
        owned = {id(value) for module in own for value in module.parameters()}
        lost = [item.name for item in self.trainables if id(item.parameter) not in reachable | owned]
        assert not lost, f"these would train without an effect: {lost[:3]}"
        self.optimizer = make_optimizer(self.trainables, self.plan)
        self.update = update_of(self.optimizer, self.plan, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast is torch.float16)
        self.parameters = [item.parameter for item in self.trainables]
        self.release = release_of(self.plan, self.parameters, self.update, self.world)
        self.effective_batch = self.plan.train.batch_size * self.plan.train.gradient_accumulation
        self.limit = self.plan.train.batch_size
        self.draws = DrawsAhead(self.plan, self.family.spec, self.device)
        self.whole = True
        """Are weights, moments and averages those after a finished update?"""
        self.ema = average_of(self.trainables, self.optimizer, self.plan.train.ema)
        self.compile: Literal["no", "asked", "done"] = "asked" if self.plan.hardware.compile else "no"
        # Dropout layers draw from the global generator, which is therefore set by key before each forward pass.
        modules = (module for part in (*self.family.parts.values(), *own) for module in part.modules())
        self.stochastic = any(isinstance(module, nn.Dropout) and module.p > 0 for module in modules)

    def run(self, start: int, boundary: Callable[[int], bool]) -> Iterator[list[StepReport]]:
        """Updates start+1 to the plan's last, in groups of finished ones.

        A group ends where `boundary(step)` says so, after `report_every_s`, and at the last step; when it is
        handed out, the weights are exactly those after its last step.
        """
        waiting: list[tuple[int, float, Tensor]] = []
        since = time.perf_counter()
        for step in range(start + 1, self.plan.train.steps + 1):
            factor = schedule_factor(step, self.plan.train) * self.feed.learning_rate_factor(step)
            rate = set_learning_rates(self.optimizer, factor)
            try:
                numbers = self._fitting(step)
            except Exception:
                if waiting and self.whole:  # these are done, and the weights are those after the last of them
                    yield self._reports(waiting, time.perf_counter() - since)
                raise
            waiting.append((step, rate, numbers))
            now = time.perf_counter()
            ends = step == self.plan.train.steps or step == start + 1 or boundary(step)
            if ends or now - since >= self.report_every_s:
                yield self._reports(waiting, now - since)
                waiting, since = [], time.perf_counter()

    def _reports(self, waiting: list[tuple[int, float, Tensor]], seconds: float) -> list[StepReport]:
        # One copy to the host for the whole group: the only place of a step where the host waits for the device.
        rows = torch.stack([numbers for *_, numbers in waiting]).tolist()
        self.update.settle()
        speed = len(waiting) * self.effective_batch / max(seconds, 1e-9)
        return [
            StepReport(step, loss, rate, norm, bool(bad), speed, self.feed.epoch(step))
            for (step, rate, _), (loss, norm, bad) in zip(waiting, rows, strict=True)
        ]

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has the averaged weights, where the plan asks for an average."""
        return self.ema.averaged() if self.ema is not None else contextlib.nullcontext()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and moments: nothing random, as every draw is keyed."""
        return {"limit": self.limit, "scaler": self.scaler.state_dict() if self.scaler.is_enabled() else {}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.limit = int(state["limit"])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(dict(state["scaler"]))

    def _fitting(self, step: int) -> Tensor:
        """The step; when memory runs out, the same step again in smaller pieces."""
        while True:
            try:
                if self.compile == "asked":
                    self._compile(step)
                return self._step(step)
            except compile_error() as error:
                if self.compile == "no":
                    raise
                self._run_eager(str(error).strip().splitlines()[0])
                continue
            except torch.OutOfMemoryError:
                told = self._smaller() if self.whole and self.release is None else None
                if told is None:
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler = renewed(self.scaler, self.device)
            free_cache(self.device)
            self.warn(*told)

    def _smaller(self) -> tuple[str, str] | None:
        """Take less memory from here on; a warning's code and text, or none where nothing is left to try."""
        if self.limit == 1:
            return self.sparing.spare()
        self.limit = (self.limit + 1) // 2
        split = f"out of memory: batches now run in pieces of {self.limit}"
        return "batch-split", f"{split}; the effective batch stays {self.effective_batch}"

    def _compile(self, step: int) -> None:
        """Compile the denoiser, unless its gradients on this step's first batch come out wrong."""
        batch = next(iter(self.feed.step(step, self.limit)), None)
        if batch is None:
            return
        error = gradient_error(
            self.family.denoiser, self.parameters, lambda: torch.autograd.backward(self._loss(step, batch))
        )
        self.compile = "done"
        if not error <= (MOST_ERROR if self.autocast is None else MOST_ERROR_HALF):
            self._run_eager(f"compiled, its gradients are {error:.1%} off")

    def _run_eager(self, reason: str) -> None:
        self.compile = "no"
        make_eager(self.family.denoiser)
        self.warn("not-compiled", f"the denoiser runs as it is, only slower, for compiling failed: {reason}")

    def _step(self, step: int) -> Tensor:
        """One update; returns [loss, gradient norm, skipped] on the device, unread."""
        self.update.begin(step)
        self.optimizer.zero_grad(set_to_none=True)
        self.draws.expect(step + 1, self.feed.outline(step + 1, self.limit))
        total = torch.zeros((), device=self.device)
        for batch in self.feed.step(step, self.limit):
            loss = self._loss(step, batch)
            self.whole = self.release is None or self.release.begin(loss)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.world.size > 1:
            self.world.add_up([total, *self._gradients()])
        norm, bad = self._update(total) if self.release is None else self.release.finish()
        self._after_step()
        if self.ema is not None:
            self.ema.update(step)
        self.whole = True
        return torch.stack([total, norm, bad])

    def _after_step(self) -> None:
        """What the method does after an update; where memory ends it, again without the gradients."""
        try:
            self.method.after_step(self.family)
        except torch.OutOfMemoryError:
            self.optimizer.zero_grad(set_to_none=True)
            free_cache(self.device)
            self.method.after_step(self.family)

    def _gradients(self) -> list[Tensor]:
        """Every parameter's gradient; zeros where no sample of this process has reached it."""
        for value in self.parameters:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        return [value.grad for value in self.parameters if value.grad is not None]

    def _loss(self, step: int, batch: Batch) -> Tensor:
        """This batch's share of the step's mean loss."""
        seed, slots, objective = self.plan.seed, batch.slots, self.plan.objective
        shape = tuple(batch.mean.shape[1:])
        latents = batch.mean + batch.std * self._normal("latent", step, slots, shape)
        noise, added = noises(self._normal, objective, step, slots, latents)
        schedule = self.family.schedule
        times = self._to(schedule.timesteps(draws.uniforms(seed, "timestep", step, slots), objective, shape))
        noisy = schedule.add_noise(latents, added, times)
        if self.stochastic:
            draws.set_global(seed, "dropout", step, slots[0])
        with self._autocast(), self.sparing.saving():
            cond = self.family.with_geometry(batch.cond(), batch.sizes)
            extra = self.method.residuals(self.family, noisy, times, cond, batch.extra)
            prediction = self.family.denoise(noisy, times, cond, extra)
        target = schedule.target(latents, noise, times)
        losses = sample_losses(prediction, target, times, schedule, objective, batch.weights)
        return losses.sum() / self.effective_batch

    def _update(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Clip and apply the gradients unless something is not finite; returns (norm, 1.0 if skipped)."""
        self.scaler.unscale_(self.optimizer)
        gradients = [value.grad for value in self.parameters if value.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).to(self.device)
        bad = (~(torch.isfinite(loss) & torch.isfinite(norm))).float()
        if self.plan.train.clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.plan.train.clip_norm, norm)
        self._move(bad)
        self.scaler.update()
        return norm, bad

    def _move(self, bad: Tensor) -> None:
        """The optimiser's step. Where memory ends it, the rest of it with the same gradients, as long as each try
        gets further; `whole` is False from the first weight that moves until the update is complete."""
        done = -1
        self.whole = False
        while True:
            try:
                return self.update.step(bad)
            except torch.OutOfMemoryError:
                self.whole = not (self.update.done or self.update.torn)
                if self.update.torn or self.update.done <= done:
                    raise
                done = self.update.done
            free_cache(self.device)

    def _normal(self, purpose: str, step: int, slots: Sequence[int], shape: Sequence[int]) -> Tensor:
        return self.draws.normal(purpose, step, slots, shape)

    def _to(self, tensor: Tensor) -> Tensor:
        return sent(held(tensor, self.device), self.device)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)

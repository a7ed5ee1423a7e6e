"""Share of a training step outside the UNet's forward and backward pass: the real worker beside a bare loop."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.figures import Figure, median, run_module
from benchmarks.workload import fresh_home, make_plan, new_run, write_model, write_pictures
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from engine.train import training
from engine.train.loop import Loop, StepReport
from engine.worker import session

ROOT = Path(__file__).parents[1]
GOAL = 10.0
BATCH = 4
ROUNDS = 15
ROUND_STEPS = 12
WARM_UP = 8


@dataclass
class Clock:
    """Seconds of wall and of this thread's processor time, in the whole and within forward and backward."""

    wall: float = 0.0
    cpu: float = 0.0
    inside_wall: float = 0.0
    inside_cpu: float = 0.0

    @property
    def share(self) -> float:
        """Percent of wall time outside forward and backward."""
        return 100 * (1 - self.inside_wall / self.wall)

    @property
    def cpu_share(self) -> float:
        """The same in processor time, which other programs on the machine hardly change."""
        return 100 * (1 - self.inside_cpu / self.cpu)


class Probe:
    """Measures into the clock that is in force: `whole` around steps, `inside` around forward and backward."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._whole = self._inside = (0.0, 0.0)

    def start(self) -> None:
        """A new clock begins."""
        self.clock = Clock()
        self._whole = _now()

    def stop(self) -> Clock:
        """The clock's end."""
        wall, cpu = _now()
        self.clock.wall, self.clock.cpu = wall - self._whole[0], cpu - self._whole[1]
        return self.clock

    def enter(self, *_: Any) -> None:
        """Forward or backward begins."""
        self._inside = _now()

    def leave(self, *_: Any) -> None:
        """Forward or backward ends."""
        wall, cpu = _now()
        self.clock.inside_wall += wall - self._inside[0]
        self.clock.inside_cpu += cpu - self._inside[1]

    def hook(self, module: nn.Module) -> None:
        """Time this module's forward pass."""
        module.register_forward_pre_hook(self.enter)
        module.register_forward_hook(self.leave)

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Time every `Tensor.backward` within the block."""
        original: Callable[..., None] = torch.Tensor.backward

        def timed(tensor: Tensor, *args: Any, **options: Any) -> None:
            self.enter()
            original(tensor, *args, **options)
            self.leave()

        with patch.object(torch.Tensor, "backward", timed):
            yield


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


class BareLoop:
    """What a step cannot do without: cached latents and text, noise, UNet, loss, clipping, fused AdamW."""

    def __init__(
        self, unet: nn.Module, schedule: Any, rows: list[tuple[Tensor, Tensor]], rate: float
    ) -> None:
        self.unet = unet
        self.parameters = [value for value in unet.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.01, fused=True)
        self.signal = schedule.alphas_cumprod.sqrt().float()
        self.sigma = (1 - schedule.alphas_cumprod).sqrt().float()
        self.rows = rows
        self.count = 0

    def step(self) -> None:
        """One update."""
        chosen = [self.rows[(self.count * BATCH + slot) % len(self.rows)] for slot in range(BATCH)]
        self.count += 1
        latents = torch.stack([latent for latent, _ in chosen])
        hidden = torch.stack([text for _, text in chosen])
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (BATCH,))
        signal, sigma = self.signal[times].view(-1, 1, 1, 1), self.sigma[times].view(-1, 1, 1, 1)
        predicted = self.unet(signal * latents + sigma * noise, times, hidden, return_dict=False)[0]
        loss = nn.functional.mse_loss(predicted, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


@dataclass
class Rounds:
    """What was measured, a clock a round."""

    rounds: int
    steps: int
    ours: list[Clock] = field(default_factory=list)
    bare: list[Clock] = field(default_factory=list)


class _PacedLoop(Loop):
    """The engine's loop, which between its rounds lets a bare loop on a copy of the same model have its turn.

    The worker consumes it as ever, so a round holds all that the worker does: reports, events, polling.
    """

    result: Rounds
    probe: Probe

    def run(self, start: int, boundary: Callable[[int], bool]) -> Iterator[list[StepReport]]:
        bare = self._bare()
        self.probe.hook(self.family.denoiser)
        self.probe.hook(bare.unet)
        groups = super().run(start, boundary)
        for _ in range(WARM_UP):
            yield next(groups)
            bare.step()
        for number in range(self.result.rounds):
            if number % 2:
                self._bare_round(bare)
            self.probe.start()
            for _ in range(self.result.steps):
                yield next(groups)
            self.result.ours.append(self.probe.stop())
            if number % 2 == 0:
                self._bare_round(bare)
        yield from groups

    def _bare_round(self, bare: BareLoop) -> None:
        self.probe.start()
        for _ in range(self.result.steps):
            bare.step()
        self.result.bare.append(self.probe.stop())

    def _bare(self) -> BareLoop:
        rows = []
        for step in range(1, 5):
            for batch in self.feed.step(step, BATCH):
                hidden = batch.cond().hidden
                rows += [(batch.mean[i].clone(), hidden[i].clone()) for i in range(len(batch.slots))]
        unet = copy.deepcopy(self.family.denoiser)
        return BareLoop(unet, self.family.schedule, rows, self.plan.train.learning_rate)


def paced_loop(measured: Rounds, clock: Probe) -> type[Loop]:
    """The paced loop that writes into `measured` what `clock` reads."""

    class Paced(_PacedLoop):
        result, probe = measured, clock

    return Paced


def run_rounds(home: Path, rounds: int, steps: int, monitor: bool) -> Rounds:
    """Both loops in this process, interleaved, with the run's events written and, if asked, the monitor attached."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model, pictures = write_model(home / "model"), write_pictures(home / "pictures")
    total = WARM_UP + rounds * steps
    run = new_run(make_plan(model, pictures, train__steps=total, train__batch_size=BATCH))
    result, probe = Rounds(rounds, steps), Probe()
    with ExitStack() as stack:
        lock = stack.enter_context(RunLock(run.lock_file))
        assert lock.acquire()
        if monitor:
            stack.enter_context(_attached(run))
        stack.enter_context(patch.object(training, "Loop", paced_loop(result, probe)))
        stack.enter_context(probe.backward())
        code = session.work(run)
    if code != 0:
        raise RuntimeError(f"the worker left with {code}: {run.events_file.read_text()[-1500:]}")
    return result


@contextmanager
def _attached(run: RunDir) -> Iterator[None]:
    """The real monitor in a pty that another process keeps drained; that one ends with its stdin."""
    attach = (sys.executable, "-P", "-m", "sdtrain_tui", "attach", str(run.path))
    keeper = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.pty", *attach), stdin=subprocess.PIPE, cwd=ROOT, text=True
    )
    try:
        yield
    finally:
        keeper.communicate(timeout=60)


def measure(quick: bool = False) -> list[Figure]:
    """Medians over the rounds; the ratio is the median of each round's own ratio."""
    torch.set_num_threads(1)
    with fresh_home() as home:
        result = run_rounds(home, 3 if quick else ROUNDS, 4 if quick else ROUND_STEPS, monitor=True)
    ours, bare = result.ours, result.bare
    ratio = median(a.cpu / b.cpu for a, b in zip(ours, bare, strict=True))
    step_ms = 1000 / result.steps
    note = (
        f"{result.rounds} interleaved rounds of {result.steps} steps, batch {BATCH}, 1 thread, events written, "
        "monitor attached"
    )
    return [
        Figure(
            "loop.share",
            "step outside UNet forward+backward",
            median(c.share for c in ours),
            "%",
            GOAL,
            note=note,
        ),
        Figure("loop.share.cpu", "the same in processor time", median(c.cpu_share for c in ours), "%", GOAL),
        Figure("loop.bare", "bare loop: the same share", median(c.share for c in bare), "%"),
        Figure("loop.bare.cpu", "bare loop: in processor time", median(c.cpu_share for c in bare), "%"),
        Figure("loop.ratio", "processor time a step: worker / bare loop", ratio, "x"),
        Figure("loop.step", "processor time a step, worker", median(c.cpu for c in ours) * step_ms, "ms"),
        Figure(
            "loop.bare-step", "processor time a step, bare loop", median(c.cpu for c in bare) * step_ms, "ms"
        ),
    ]


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))

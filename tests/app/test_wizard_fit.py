"""The hardware page beside the cards: what fits what is free now, what would make it fit, and figures that follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cost.machine import Gpu, Machine
from sdtrain_tui.app import SdtrainApp
from tests.app.seen import text_of, wait_for, wait_text
from tests.app.test_wizard import answers_for, go_to

GIB = 1 << 30
FRAMES = {ord(sign): None for sign in "▁▂▃▄▅▆▇█│"}
CARDS = (
    Gpu(0, "Free Card", "GPU-0", 24 * GIB, 23 * GIB, (8, 9)),
    Gpu(1, "Busy Card", "GPU-1", 24 * GIB, 0, (8, 9)),
    Gpu(2, "Full Card", "GPU-2", 8 * GIB, 1 << 20, (7, 5)),
)


class Cards:
    """A machine whose cards fill and empty while somebody looks."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus = gpus

    def __call__(self) -> Machine:
        return Machine(self.gpus, "", "1", 8, 64 * GIB)

    def free(self, index: int, size: int) -> None:
        """So many bytes are free on a card from here on."""
        self.gpus = tuple(replace(gpu, memory_free=size) if gpu.index == index else gpu for gpu in self.gpus)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cards]:
    found = Cards(*CARDS)
    monkeypatch.setattr("engine.cost.machine.machine_now", found)
    monkeypatch.setattr("sdtrain_tui.wizard.hardware.LOOK_S", 0.1)
    yield found


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_each_card_says_what_fits_it_and_what_would(
    size: tuple[int, int], pictures: Path, home: Path, cards: Cards
) -> None:
    large = {"data.resolution": 256, "train.batch_size": 16, "hardware.device": "cpu", "hardware.fit": "off"}
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, **large))
    cards.free(1, int(1.2 * GIB))
    async with app.run_test(size=size) as pilot:
        await go_to(pilot, app, "hardware")
        seen = await wait_text(pilot, "fits: about")
        words = " ".join(seen.translate(FRAMES).split())
        free, busy, full = (words.index(name) for name in ("Free Card", "Busy Card", "Full Card"))
        assert "fits: about" in words[free:busy]
        assert "does not fit now" in words[busy:full] and "% more computation:" in words[busy:full]
        assert "- gradient checkpointing (hardware" in words[busy:full]
        assert "does not fit: about" in words[full:] and "nothing that the plan" in words[full:]


async def test_the_page_follows_what_is_free_and_what_is_answered(
    pictures: Path, home: Path, cards: Cards
) -> None:
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, **{"hardware.device": "cpu"}))
    cards.gpus = cards.gpus[:1]
    async with app.run_test(size=(120, 36)) as pilot:
        await go_to(pilot, app, "hardware")
        await wait_text(pilot, "fits: about")
        cards.free(0, 1 << 20)
        await wait_text(pilot, "does not fit: about")
        cards.free(0, 20 * GIB)
        await wait_text(pilot, "fits: about")
        assert "20.0 GiB free" in text_of(app)


async def test_a_plan_outside_the_tables_is_counted_beside_the_page(pictures: Path, home: Path) -> None:
    odd = {"hardware.device": "cpu", "lora.kind": "lokr", "lora.factor": 3}
    app = SdtrainApp(start="wizard", answers=answers_for(pictures, **odd))
    async with app.run_test(size=(200, 60)) as pilot:
        await go_to(pilot, app, "hardware")
        seen = await wait_text(pilot, "a step of this plan is being counted")
        assert "scaled from the likest plan" in seen.replace("\n", " ")
        await wait_for(pilot, lambda: "is being counted" not in text_of(app), "the count", 90)
        await wait_for(pilot, lambda: "scaled from" not in text_of(app), "the counted figures")
        assert "memory by part" in text_of(app)
    assert list((home / "cache" / "traced").glob("*.json"))

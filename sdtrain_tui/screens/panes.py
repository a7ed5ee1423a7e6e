"""The panes of the monitor in the order of their numbers, and what keys, help and hints say of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from textual.binding import Binding

from sdtrain_tui.screens.help_texts import HelpPart
from sdtrain_tui.widgets.gpu_pane import GpuPane
from sdtrain_tui.widgets.log_pane import LogPane
from sdtrain_tui.widgets.loss_pane import LossPane
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.previews_pane import PreviewsPane

PANES: Final[tuple[type[MonitorPane], ...]] = (
    LossPane,
    PreviewsPane,
    GpuPane,
    LogPane,
)


def bindings() -> Iterator[Binding]:
    """A pane's number, and its own key where it has one, focus it."""
    for number, pane in enumerate(PANES, 1):
        keys = f"{number},{pane.KEY}" if pane.KEY else str(number)
        yield Binding(keys, f"pane('{pane.NAME}')", pane.TITLE, show=False, id=f"monitor.{pane.NAME}")


def numbers() -> str:
    """The keys of all panes, for the line of hints."""
    return f"1-{len(PANES)}"


def help_part() -> HelpPart:
    """The panes on the help page."""
    keys = " ".join(str(number) for number in range(1, len(PANES) + 1))
    names = ", ".join(pane.NAME for pane in PANES)
    own = [(pane.NAME, pane.HELP) for pane in PANES if pane.HELP]
    return (
        "panes",
        ((keys, f"{names}; again: in full"), ("z", "the pane in focus in full, and back"), *own),
    )

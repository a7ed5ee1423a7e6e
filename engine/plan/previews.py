"""What previews are drawn from where a plan leaves it open: their prompts, and the pictures that lend conditions."""

from __future__ import annotations

from collections.abc import Sequence

from engine.dataset.report import Item
from engine.plan.schema import Plan


def preview_prompts(plan: Plan, items: Sequence[Item]) -> list[str]:
    """The plan's prompts, or else the first captions of the pictures."""
    return list(plan.samples.prompts) or [item.caption for item in items[: plan.samples.count]]


def lenders(items: Sequence[Item], prompts: Sequence[str]) -> list[Item]:
    """For each prompt the picture whose condition its preview obeys, of those that have one (at least one).

    It is the first picture with the prompt for its caption, else the next in order.
    """
    by_caption: dict[str, Item] = {}
    for item in items:
        by_caption.setdefault(item.caption, item)
    return [by_caption.get(prompt, items[index % len(items)]) for index, prompt in enumerate(prompts)]

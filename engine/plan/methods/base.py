"""The card and the contract of a method, without torch: what it is for, needs and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from engine.plan.fields import Section


@dataclass(frozen=True)
class Stage:
    """Updates up to `last` (1-based, inclusive) see pictures of `side` pixels at `factor` times the learning rate."""

    side: int
    last: int
    factor: float


class MethodOptions(Section):
    """Base of every method's own table. `path_fields` are those that name a file or folder, or are empty."""

    path_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def idle(self) -> frozenset[str]:
        """Fields of the table that have no effect as the others stand; a form need not ask for them."""
        return frozenset()

    @property
    def trains_text(self) -> bool:
        """Do weights of a text encoder change, so that cached text embeddings would be wrong?"""
        return False

    @property
    def stages_of_resolution(self) -> tuple[Stage, ...]:
        """Resolutions that follow one another; empty where data.resolution holds all along."""
        return ()

    def format_obstacle(self, name: str) -> str:
        """Why these options cannot be written in one of the method's formats; empty when they can."""
        return ""


@dataclass(frozen=True)
class MethodSpec:
    """A method as the wizard shows it and as the check uses it.

    `requires` names what a family must provide; `formats` are export formats, the defaults first;
    `default_formats` says how many of them are written when the plan names none. `asks` are the plan's fields
    that belong to the pictures and are asked for with them; `class_pictures` says whether the method takes any.
    """

    name: str
    title: str
    goal: str
    input: str
    output: str
    use: str
    options: type[MethodOptions]
    formats: tuple[str, ...]
    default_formats: int = 1
    requires: frozenset[str] = frozenset({"unet"})
    typical_pictures: tuple[int, int] = (10, 100)
    notes: tuple[str, ...] = field(default=())
    asks: tuple[str, ...] = ("data.trigger", "data.flip")
    class_pictures: bool = True

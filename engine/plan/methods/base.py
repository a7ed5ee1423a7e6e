"""The contract of a method, without torch: its card as data, and what follows from its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from engine.plan.fields import Section

if TYPE_CHECKING:
    from engine.models.family_spec import FamilySpec
    from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext
    from engine.plan.problems import Problem


@dataclass(frozen=True)
class Stage:
    """Updates up to `last` (1-based, inclusive) see pictures of `side` pixels at `factor` times the learning rate."""

    side: int
    last: int
    factor: float


@dataclass(frozen=True)
class ConditionSource:
    """Where a picture's condition comes from: `maker` is "files" (those in the folder `path`, or of the metadata's
    column where it is empty) or what makes it from the picture; `channels` is 1 or 3; `model` is the folder of the
    maker's weights, empty for the usual ones."""

    maker: str
    path: str
    channels: int
    model: str = ""


@dataclass(frozen=True)
class Lesson:
    """What a method's demo teaches: `pictures` samples of one of the worlds in `engine.demo.prepare`.

    In `answers`, the demo's own answers for its plan, {folder} is the demo's folder, which holds `pictures`.
    """

    world: str
    pictures: int
    teaches: str
    trigger: str = ""
    answers: Mapping[str, object] = field(default_factory=dict)


class MethodOptions(Section):
    """Base of every method's own table: its fields, and what shared code asks of them.

    `path_fields` name a file or folder, or are empty; `path_endings` are the endings of files that such a field may
    name beside folders. After a change of one of `condition_fields` the pictures are looked at again.
    """

    path_fields: ClassVar[tuple[str, ...]] = ()
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    condition_fields: ClassVar[tuple[str, ...]] = ()
    sizeless_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no size: a step takes as much memory and computation whatever they say."""

    @property
    def width_field(self) -> str:
        """The field in proportion to which the method's own tensors are wide (a rank); empty where there is none."""
        return ""

    @property
    def trains_text(self) -> bool:
        """Do weights of a text encoder change, so that cached text embeddings would be wrong?"""
        return False

    @property
    def stages_of_resolution(self) -> tuple[Stage, ...]:
        """Resolutions that follow one another; empty where data.resolution holds all along."""
        return ()

    @property
    def conditions(self) -> ConditionSource | None:
        """The condition pictures that the method sees; none for a method that sees none."""
        return None

    @property
    def effective_scale(self) -> float | None:
        """What the trained change is multiplied with; none where the method has no such factor."""
        return None

    @property
    def thrift(self) -> Mapping[str, object]:
        """Values of the table's own fields with which the method takes the least memory; empty where none saves any."""
        return {}

    def format_obstacle(self, name: str) -> str:
        """Why these options cannot be written in one of the method's formats; empty when they can."""
        return ""

    def file_stem(self, trigger: str) -> str:
        """What output files are called where the plan names none; empty takes the plan's name."""
        return ""

    def stem_beside(self, kind: str, trigger: str) -> str:
        """What files are called that hold something of another kind beside the result; empty is like all others."""
        return ""

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        """What is wrong or doubtful about these options in the plan of `ctx`."""
        return iter(())

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        """Values that follow from the answers given, after the preset and the length are settled."""
        return iter(())

    def whole_parts(self, family: FamilySpec) -> tuple[str, ...]:
        """The parts of the base that train with all their weights; empty for methods that add to it."""
        return ()

    def denoiser_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config of the denoiser that is trained, where the base's own is `config`."""
        return config

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        """Numbers that train beside the base's own; 0 for methods that train whole parts."""
        return 0

    def trained_shapes(self, shape: BaseShape) -> tuple[tuple[int, ...], ...]:
        """Shapes of what trains, on which some optimisers' states depend; none are like those of the base's layers."""
        return ()

    def length_notes(self, samples: int, pictures: int, seconds: float | None) -> Iterator[str]:
        """What the forecast adds about a run that sees `samples` in all, of so many `pictures`."""
        return iter(())


@dataclass(frozen=True)
class MethodSpec:
    """A method as the wizard shows it and as the check uses it.

    `behaviour` is "module:Class" of its `engine.methods.base.Method`, imported in the engine's process alone.
    `requires` names what a family must provide; `formats` are export formats, the defaults first;
    `default_formats` says how many of them are written when the plan names none. `asks` are the plan's fields
    that belong to the pictures and are asked for with them, `labels` what a form calls some of them;
    `class_obstacle` says why the method takes no class pictures, and is empty where it does. `flags` are options
    of `sdtrain new` for fields of the method's table. `like` names the method whose presets it starts from,
    `preset` values of its own on any base; `lighter` names a method that does alike with less memory, which is
    offered where this one does not fit; `lesson` is its demo.
    """

    name: str
    title: str
    goal: str
    input: str
    output: str
    use: str
    options: type[MethodOptions]
    behaviour: str
    formats: tuple[str, ...]
    default_formats: int = 1
    requires: frozenset[str] = frozenset()
    typical_pictures: tuple[int, int] = (10, 100)
    notes: tuple[str, ...] = field(default=())
    asks: tuple[str, ...] = ("data.trigger", "data.flip")
    labels: Mapping[str, str] = field(default_factory=dict)
    class_obstacle: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    like: str = ""
    preset: Mapping[str, object] = field(default_factory=dict)
    lighter: str = ""
    lesson: Lesson | None = None

    @property
    def class_pictures(self) -> bool:
        """Does the method take class pictures?"""
        return not self.class_obstacle

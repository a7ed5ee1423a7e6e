"""DreamBooth teaches the built-in model a subject; prior preservation keeps the class that it is called by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.demo import styles, world
from engine.demo.checker import read_picture
from engine.demo.score import mean_score
from engine.demo.world import Picture
from tests.learning.conftest import Record
from tests.learning.lessons import drawn, lesson
from tests.support.sessions import Prepared, run_steps

# Half of the prompts say something that no caption of the subject says.
SUBJECT = ["a blim circle"] * 6 + [f"a blim circle on a {ground} background" for ground in world.BACKGROUNDS]
CLASS = ["a circle"] * 6 + [f"a {colour} circle" for colour in world.COLOURS]


@dataclass(frozen=True)
class Seen:
    """Pictures of the subject and of its class, and what they show."""

    subjects: list[Picture]
    others: list[Picture]

    @property
    def subject(self) -> float:
        return mean_score(self.subjects, styles.blim_score)

    @property
    def leaked(self) -> float:
        """How much of the subject is in its class."""
        return mean_score(self.others, styles.blim_score)

    @property
    def kept(self) -> float:
        """The share of the class's pictures that are circles without a trace of the subject."""
        kept = [read_picture(one).shape == "circle" and styles.blim_score(one) < 0.1 for one in self.others]
        return sum(kept) / len(kept)


def _look(made: Prepared) -> Seen:
    return Seen(drawn(made, SUBJECT), drawn(made, CLASS))


def test_the_subject_is_learnt_and_class_pictures_keep_the_class(
    home: Path, tmp_path: Path, record: Record
) -> None:
    made = lesson("dreambooth", tmp_path)
    before = _look(made)
    run_steps(made)
    both = _look(made)
    alone = lesson("dreambooth", tmp_path, **{"data.class_count": 0, "data.class_prompt": ""})
    run_steps(alone)
    without = _look(alone)
    record(
        "dreambooth",
        [[*one.subjects[:3], *one.subjects[6:9], *one.others[4:10]] for one in (before, both, without)],
        before=before.subject,
        after=both.subject,
        kept_before=before.kept,
        kept=both.kept,
        leaked=both.leaked,
        after_without=without.subject,
        kept_without=without.kept,
        leaked_without=without.leaked,
    )
    assert before.subject < 0.1
    assert both.subject > 0.4, "with class pictures the subject is still learnt"
    assert both.leaked < 0.1
    assert both.kept > 0.7
    assert without.leaked > 0.3, "without class pictures the class turns into the subject"
    assert without.kept < both.kept - 0.3

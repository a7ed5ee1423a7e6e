"""A new plan for textual inversion puts its word into phrases where pictures have no captions."""

from pathlib import Path

import pytest

from engine.planning.build import build, gather
from engine.planning.data import scan_data

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("captioned", [True, False])
def test_pictures_without_captions_are_shown_with_phrases_around_the_word(
    captioned: bool, pictures: Path
) -> None:
    for text in [] if captioned else pictures.glob("*.txt"):
        text.unlink()
    answers: dict[str, object] = {
        "method": "textual_inversion",
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        "data.trigger": "<morp>",
    }
    plan = build(answers, gather(answers)).plan
    assert plan.captions.templates == ([] if captioned else ["subject"])
    items = scan_data(plan).items
    texts = [{text for text, _ in item.choices} for item in items]
    assert all(not each if captioned else "a photo of <morp>" in each and len(each) == 8 for each in texts)
    own = {**answers, "captions.templates": ["art by {}"]}
    assert build(own, gather(own)).plan.captions.templates == ["art by {}"]

"""What follows from data and card: each derived value at the edges of its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.estimate import estimate
from engine.cost.machine import Machine
from engine.dataset.report import Counts, DatasetReport
from engine.models.bases import BaseInfo
from engine.planning.build import Built, Facts, build, gather
from engine.planning.presets import preset
from tests.support.pictures import write_conditions, write_pictures
from tests.support.plans import GIB, card


def report_of(*buckets: int) -> DatasetReport:
    """So many pictures in each bucket, none of which is there."""
    count = sum(buckets)
    sizes = {(512 + 64 * at, 512): number for at, number in enumerate(buckets)}
    counts = Counts(files=count, images=count, captioned=count)
    return DatasetReport("/p", 512, "zqx", True, False, (), (), counts, sizes, (512, 512), (), "words")


def built(facts: Facts, **answers: object) -> Built:
    given = {"base.model": "owner/model", "data.path": "/p", "data.trigger": "zqx"}
    return build({**given, **{key.replace("__", "."): value for key, value in answers.items()}}, facts)


def derived(facts: Facts, **answers: object) -> dict[str, object]:
    return {item.key: item.value for item in built(facts, **answers).derived}


@pytest.mark.parametrize(
    ("buckets", "batch", "repeats"),
    [
        ((6,), 6, None),
        ((5,), 6, None),  # a fifth is drawn twice, which is not too much
        ((4,), 6, 3),
        ((3,), 6, 2),
        ((30, 3), 6, None),
        ((3, 3), 6, 2),
        ((1,), 16, 8),  # no more than that, although half of it is drawn twice
    ],
)
def test_an_epoch_is_made_longer_until_few_pictures_fill_batches(
    buckets: tuple[int, ...], batch: int, repeats: int | None, no_gpu: Machine
) -> None:
    facts = Facts(report_of(*buckets), machine=no_gpu)
    assert derived(facts, train__batch_size=batch).get("data.repeats") == repeats


@pytest.mark.parametrize(("name", "repeats"), [("1_zqx cat", None), ("2_zqx cat", 2), ("12_zqx cat", 12)])
def test_a_folder_that_says_so_gives_trigger_and_repeats(
    name: str, repeats: int | None, tmp_path: Path, no_gpu: Machine
) -> None:
    folder = write_pictures(tmp_path / name)
    answers = {"base.model": "builtin:tiny", "data.path": str(folder), "train.batch_size": 1}
    made = build(answers, gather(answers, no_gpu))
    assert made.plan.data.trigger == "zqx cat"
    assert {item.key: item.value for item in made.derived}.get("data.repeats") == repeats


@pytest.mark.parametrize(
    ("steps", "warmup", "previews", "checkpoints"),
    [
        (1, None, 1, 1),
        (19, None, 4, 4),
        (20, 1, 5, 5),
        (400, 20, 100, 100),
        (2_000, 100, 200, 500),
        (9_000, 100, 200, 500),
    ],
)
def test_warm_up_previews_and_checkpoints_follow_the_length(
    steps: int, warmup: int | None, previews: int, checkpoints: int, no_gpu: Machine
) -> None:
    facts = Facts(report_of(8), machine=no_gpu)
    plan = built(facts, train__steps=steps).plan
    assert (plan.samples.every, plan.checkpoints.every) == (previews, checkpoints)
    assert derived(facts, train__steps=steps).get("train.warmup") == warmup


@pytest.mark.parametrize(
    ("answers", "each"),
    [
        ({"method": "lora"}, True),
        ({"method": "textual_inversion"}, True),
        ({"method": "lora", "lora.rank": 1024, "lora.targets": "all"}, None),  # over 200 MB a file
        ({"method": "lora", "output.formats": ["kohya", "merged"]}, None),  # a whole model a checkpoint
        ({"method": "full"}, None),
        ({"method": "lora", "checkpoints.every": 0}, None),
        ({"method": "lora", "train.steps": 100, "checkpoints.every": 100}, None),  # the last step's alone
        ({"method": "lora", "checkpoints.export_each": False}, None),
    ],
)
def test_light_files_are_kept_of_every_checkpoint(
    answers: dict[str, object], each: bool | None, no_gpu: Machine
) -> None:
    assert derived(Facts(report_of(8), machine=no_gpu), **answers).get("checkpoints.export_each") is each


@pytest.mark.parametrize(("gigabytes", "side", "pieces"), [(24, 1024, 1), (24, 2560, 4), (1, 512, 1)])
def test_a_batch_goes_through_the_card_in_the_fewest_pieces_that_fit(
    gigabytes: int, side: int, pieces: int
) -> None:
    base = BaseInfo("owner/model", "hub", None, "sd1", "", "epsilon", "base", "fp16", 512, False, ())
    here = card(gigabytes)
    facts = Facts(report_of(40), base, here.gpus[0].gigabytes, here.gpus, here)

    # What the answers say stays, so that nothing but the pieces and gradient checkpointing is left to change.
    kept = {
        "optimizer__name": "adamw",
        "hardware__offload_activations": False,
        "hardware__vae_tiling": "decode",
    }
    kept |= {"train__weights": "fp32", "hardware__fused_backward": "off"}

    def fits(**changes: object) -> bool:
        plan = built(facts, method="full", data__resolution=side, **kept, **changes).plan
        return estimate(plan, base, facts.report, here).vram_total <= gigabytes * GIB

    usual = preset("full", "sd1", False, gigabytes).values
    whole, often = (usual.get(f"train.{name}", 1) for name in ("batch_size", "gradient_accumulation"))
    assert isinstance(whole, int) and isinstance(often, int)
    train = built(facts, method="full", data__resolution=side, **kept).plan.train
    assert (train.batch_size, train.gradient_accumulation) == (whole // pieces, often * pieces)
    in_one = fits(train__batch_size=whole)
    assert in_one == (side == 1024), "the batch in one piece"
    assert fits() == (side in (1024, 2560)), (
        "where one picture is too much already, it is as little as it gets"
    )


def test_a_recipe_without_published_rates_is_right_within_ten_times() -> None:
    found = preset("lora", "sd1", tiny=True)
    assert (found.lowest_rate, found.highest_rate) == pytest.approx((1e-4, 1e-2))
    assert found.values["train.learning_rate"] == 1e-3


def test_conditions_in_the_pictures_own_folder_are_paired_and_not_counted(
    tmp_path: Path, no_gpu: Machine
) -> None:
    folder = write_pictures(tmp_path / "pictures", count=3)
    conditions = write_conditions(folder, folder / "edges")
    answers = {"method": "controlnet", "base.model": "builtin:tiny", "data.path": str(folder)}
    facts = gather({**answers, "controlnet.condition_path": str(conditions)}, no_gpu)
    assert facts.pictures == 3
    assert facts.pairs is not None and len(facts.pairs.files) == 3
    assert gather({**answers, "controlnet.condition_path": str(tmp_path / "none")}, no_gpu).pairs is None
    assert gather({**answers, "method": "lora"}, no_gpu).pairs is None


@pytest.mark.parametrize(("family", "whose"), [("sd1", "sd1"), ("sdxl", "sdxl"), ("sd3", "sd1")])
def test_values_come_from_the_bases_own_preset_or_the_usual_one(family: str, whose: str) -> None:
    base = BaseInfo("owner/model", "hub", None, family, "", "epsilon", "base", "fp16", 512, False, ())
    here = card(24)
    made = built(Facts(report_of(40), base, 24.0, here.gpus, here), method="full")
    taken = {item.key: item.value for item in made.derived if item.why.startswith("preset ")}
    known = {name: preset("full", name, False, 24.0).values for name in ("sd1", "sdxl")}
    assert [name for name, values in known.items() if taken.items() <= values.items()] == [whose]

"""What one draw sees of a caption: tags shuffled or left out, wildcards, one of several captions."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.caption_draws import CaptionDraws, plain, variant
from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.report import Item
from engine.dataset.treatment import Treatment

CAPTION = "fox, red, snow, tree, night, moon"


def test_a_variant_without_options_is_the_caption_itself() -> None:
    assert variant("a, b ,c ", 1, 2, 3) == "a, b ,c "


@given(st.integers(), st.integers(0, 1000), st.integers(0, 10**9), st.integers(0, 9))
def test_shuffled_tags_are_the_same_tags_with_the_first_in_place(
    seed: int, epoch: int, index: int, kept: int
) -> None:
    result = variant(CAPTION, seed, epoch, index, shuffle_tags=True, keep_tags=kept)
    assert result == variant(CAPTION, seed, epoch, index, shuffle_tags=True, keep_tags=kept)
    tags = CAPTION.split(", ")
    assert Counter(result.split(", ")) == Counter(tags)
    assert result.split(", ")[:kept] == tags[:kept]


def test_variants_differ_by_epoch_by_index_and_by_seed() -> None:
    assert len({variant(CAPTION, 1, epoch, 0, shuffle_tags=True) for epoch in range(40)}) > 30
    assert len({variant(CAPTION, 1, 0, index, shuffle_tags=True) for index in range(40)}) > 30
    assert len({variant(CAPTION, seed, 0, 0, shuffle_tags=True) for seed in range(40)}) > 30


def test_tag_dropout_leaves_the_stated_part_out_and_protected_tags_in() -> None:
    rules = CaptionRules(tag_dropout=0.3, protected_tags=("snow",))
    seen = [variant(CAPTION, 3, 0, index, keep_tags=1, rules=rules).split(", ") for index in range(1000)]
    counted = Counter(tag for tags in seen for tag in tags)
    assert counted["fox"] == counted["snow"] == 1000
    for tag in ("red", "tree", "night", "moon"):
        assert 640 < counted[tag] < 760, "1000 draws, 700 expected, 4 standard deviations"
    order = CAPTION.split(", ")
    assert all(tags == [tag for tag in order if tag in tags] for tags in seen), "their order stays"


def test_tag_dropout_does_not_change_how_tags_are_shuffled() -> None:
    for index in range(50):
        shuffled = variant(CAPTION, 3, 0, index, shuffle_tags=True).split(", ")
        rules = CaptionRules(tag_dropout=0.5)
        left = variant(CAPTION, 3, 0, index, shuffle_tags=True, rules=rules).split(", ")
        assert [tag for tag in shuffled if tag in left] == [tag for tag in left if tag]


def test_wildcards_become_each_side_as_often_inner_ones_first() -> None:
    rules = CaptionRules(wildcards=True)
    text = "a {red|blue|green} {fox|{small|big} hen}"
    seen = Counter(variant(text, 1, 0, index, rules=rules) for index in range(3000))
    hens = sum(count for caption, count in seen.items() if "hen" in caption)
    assert len(seen) == 9 and 1390 < hens < 1610
    assert all(860 < sum(seen[c] for c in seen if word in c) < 1140 for word in ("red", "blue", "green"))
    assert variant(text, 1, 0, 0) == text, "literal unless they are asked for"
    assert variant("a {fox} | b", 1, 0, 0, rules=rules) == "a {fox} | b"
    assert plain(text, rules) == "a red fox"


def test_tags_before_the_separator_and_behind_the_second_one_stay() -> None:
    rules = CaptionRules(keep_separator="|||")
    text = "fox, red ||| snow, tree, night, moon ||| best, last"
    seen = {
        tuple(variant(text, 1, 0, n, shuffle_tags=True, keep_tags=1, rules=rules).split(", "))
        for n in range(60)
    }
    assert len(seen) > 15 and {tags[:2] for tags in seen} == {("fox", "red")}
    assert {tags[-2:] for tags in seen} == {("best", "last")}
    assert plain(text, rules) == variant(text, 1, 0, 0, rules=rules) == text.replace(" |||", ",")
    kept = variant("fox, red, snow, tree", 1, 0, 3, shuffle_tags=True, keep_tags=2, rules=rules)
    assert kept.startswith("fox, red, "), "without the mark the first tags stay"


def test_tags_with_the_secondary_separator_move_as_one() -> None:
    rules = CaptionRules(secondary_separator=";;;", tag_dropout=0.3)
    text = "fox, red;;;snow, tree, night;;;moon"
    seen = [variant(text, 1, 0, n, shuffle_tags=True, rules=rules) for n in range(200)]
    assert len(set(seen)) > 10
    for first, second in (("red", "snow"), ("night", "moon")):
        assert all((f"{first}, {second}" in caption) == (second in caption) for caption in seen)
        assert any(second not in caption for caption in seen)
    assert plain(text, rules) == "fox, red, snow, tree, night, moon"


@given(st.integers(0, 10**6))
def test_prefix_and_suffix_stay_where_they_are(index: int) -> None:
    rules = CaptionRules(prefix="best, photo of", suffix=", 4k")
    text = rules.around(CAPTION)
    assert text == f"best, photo of {CAPTION}, 4k"
    shown = variant(text, 1, 0, index, shuffle_tags=True, rules=rules)
    head, body, tail = rules.inside(shown)
    assert (head, tail) == ("best, photo of ", ", 4k")
    assert body == variant(CAPTION, 1, 0, index, shuffle_tags=True)


def _draws(choices: tuple[tuple[str, float], ...], rules: CaptionRules = USUAL) -> CaptionDraws:
    item = Item(Path(), "a.png", 64, 64, choices[0][0], "a.txt", (64, 64), choices=choices)
    return CaptionDraws([item], [Treatment("", shuffle_tags=False)], rules, 5)


def test_of_several_captions_each_is_drawn_by_its_weight() -> None:
    drawn = _draws((("a fox", 3.0), ("fox, red", 1.0)))
    seen = Counter(drawn.texts([0], [False], [(0, n)])[0] for n in range(4000))
    assert set(seen) == {"a fox", "fox, red"} and 2890 < seen["a fox"] < 3110
    assert drawn.texts([0], [True], [(0, 1)]) == [""]
    assert drawn.every() == {"a fox", "fox, red"}


def test_what_comes_up_is_among_the_texts_that_are_encoded_once() -> None:
    rules = CaptionRules(prefix="photo of", secondary_separator=";;;", keep_separator="|||")
    texts = tuple((rules.around(text), 1.0) for text in ("a ||| b;;;c, d", "e;;;f", "g"))
    drawn = _draws(texts, rules)
    seen = {drawn.texts([0], [False], [(0, n)])[0] for n in range(100)}
    assert seen == drawn.every() == {"photo of a, b, c, d", "photo of e, f", "photo of g"}

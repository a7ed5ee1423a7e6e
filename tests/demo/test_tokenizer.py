"""The tiny tokenizer is a real CLIP tokenizer: known words whole, every text accepted, new words possible."""

from pathlib import Path

import pytest

pytest.importorskip("transformers")
from transformers import CLIPTokenizer

from engine.demo.tokenizer import merges_for, split_word, vocabulary, write_tokenizer
from engine.demo.words import CAPTION_WORDS, WORLD_WORDS
from engine.demo.world import held_out_prompts, training_scenes
from engine.models.clip_vocabulary import byte_symbols


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_its_special_tokens_are_those_of_sd1(tokenizer: CLIPTokenizer) -> None:
    vocab, _ = vocabulary()
    assert len(tokenizer) == len(vocab)
    assert tokenizer.bos_token_id == len(vocab) - 2
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == len(vocab) - 1
    assert tokenizer.model_max_length == 77


def test_known_words_are_one_token_each(tokenizer: CLIPTokenizer) -> None:
    for word in WORLD_WORDS + CAPTION_WORDS:
        assert tokenizer.tokenize(word) == [word + "</w>"]


def test_world_captions_need_no_pieces(tokenizer: CLIPTokenizer) -> None:
    captions = [text for _, text in training_scenes(100)] + [text for text, _ in held_out_prompts(50)]
    for text in captions:
        assert len(tokenizer.tokenize(text)) == len(text.replace(",", " ,").split())


@pytest.mark.parametrize("text", ["zil blim 42", "猫 and ünïcode é", "emoji 🙂 <tag>", "100% it's"])
def test_any_text_tokenises_and_comes_back(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1:-1]
    back = tokenizer.decode(ids, skip_special_tokens=True)
    assert back.replace(" ", "") == text.replace(" ", "")


def test_long_text_is_cut_and_short_text_padded_to_77(tokenizer: CLIPTokenizer) -> None:
    for text in ("red", "red " * 200):
        ids = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
        assert len(ids) == 77 and ids[-1] == tokenizer.eos_token_id


def test_a_new_word_can_be_added(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    own = CLIPTokenizer.from_pretrained(tmp_path)
    before = len(own)
    assert own.add_tokens(["<blim>"]) == 1
    assert own("a <blim>").input_ids[2] == before


def test_every_byte_has_its_own_symbol() -> None:
    assert len(set(byte_symbols())) == 256


def test_later_words_never_split_earlier_ones() -> None:
    words = ["star", "start", "art", "tar", "stars"]
    ranks = {pair: rank for rank, pair in enumerate(merges_for(words))}
    assert [split_word(word, ranks) for word in words] == [[word + "</w>"] for word in words]

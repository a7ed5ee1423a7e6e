"""Writes the tiny model's tokenizer: a real CLIP byte-level BPE with a small vocabulary made for the world's words.

Every text tokenises, because all 256 byte symbols and their end-of-word forms are tokens; known words are one token.
"""

import json
from itertools import pairwise
from pathlib import Path

from engine.demo.words import CAPTION_WORDS, WORLD_WORDS
from engine.models.clip_vocabulary import END, START, WORD_END, numbered

MAX_LENGTH = 77
Pair = tuple[str, str]


def split_word(word: str, ranks: dict[Pair, int]) -> list[str]:
    """Apply merges to one ASCII word, best rank first, the way the tokenizer itself does."""
    pieces = [*word[:-1], word[-1] + WORD_END]
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(pairwise(pieces)) if pair in ranks]
        if not pairs:
            return pieces
        _, i = min(pairs)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def merges_for(words: list[str]) -> list[Pair]:
    """Merges after which every given ASCII word is one token. New ones rank last, so that earlier words stay whole."""
    ranks: dict[Pair, int] = {}
    for word in words:
        while len(pieces := split_word(word, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def vocabulary() -> tuple[dict[str, int], list[Pair]]:
    """Token to id, and the merges in order: 256 bytes, 256 bytes at a word's end, merged pieces, bos, eos."""
    merges = merges_for(list(dict.fromkeys(WORLD_WORDS + CAPTION_WORDS)))
    return numbered(dict.fromkeys(a + b for a, b in merges)), merges


def write_tokenizer(folder: Path) -> int:
    """Write vocab.json, merges.txt and the two config files that transformers reads; returns the vocabulary's size."""
    vocab, merges = vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
    _write_json(folder / "vocab.json", vocab, indent=None)
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(vocab)


def _write_json(path: Path, value: object, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")

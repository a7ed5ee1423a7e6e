"""Text of captions and tables in whatever encoding it was saved: UTF-8, UTF-16, UTF-32 or Windows-1252."""

import codecs
import re
import unicodedata
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = {"utf-32-le": "UTF-32", "utf-32-be": "UTF-32", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_HIGH = re.compile(rb"[\x80-\xff]")
_WESTERN = re.compile(rb"[\x85\x91-\x97\xa0\xa7\xa9\xab\xae\xb0\xb4\xb7\xbb\xbf\xc0-\xff]")
"""Windows-1252's letters, quotes, dashes, and the few other signs that stand in sentences."""
_ENOUGH = 0.95
_STRAY = 0.25
"""So many control characters may have strayed into UTF-8; letters of Europe in UTF-16 are half NULs."""
_DENSE = 0.65
"""Chinese and Japanese in UTF-16 have fewer bytes above 0x7F than this, and in their own old encodings more."""
_SCRIPTS = (
    ("latin", 0x00C0, 0x024F),
    ("greek", 0x0370, 0x03FF),
    ("cyrillic", 0x0400, 0x052F),
    ("hebrew", 0x0590, 0x05FF),
    ("arabic", 0x0600, 0x06FF),
    ("devanagari", 0x0900, 0x097F),
    ("thai", 0x0E00, 0x0E7F),
    ("han", 0x3040, 0x30FF),
    ("han", 0x4E00, 0x9FFF),
    ("hangul", 0xAC00, 0xD7A3),
)
_SIGNS = (
    (0x0300, 0x036F),
    (0x2010, 0x203A),
    (0x20A0, 0x20BF),
    (0x3000, 0x3020),
    (0xFF00, 0xFFEF),
    (0x1F300, 0x1FAFF),
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, and what its encoding had to be guessed to be; empty for UTF-8 and for what a mark names."""

    text: str
    guess: str = ""


def decode(raw: bytes) -> Decoded:
    """The text of a caption file; never fails, at worst it is read as Windows-1252.

    Without a byte order mark, UTF-16 and UTF-32 are told by what they look like as bytes: NULs or other control
    characters, or no UTF-8, and in the wide encoding letters of one script.
    """
    if _CONTROLS.search(raw) is None and (text := _utf8(raw)) is not None:
        return Decoded(text)
    codec, marked = wide_encoding(raw)
    if codec:
        text = codecs.getincrementaldecoder(codec)("replace").decode(raw)
        return Decoded(text, "" if marked else _WIDE[codec])
    if (text := _utf8(raw)) is not None:
        return Decoded(text)
    return Decoded(raw.decode("cp1252", "replace"), "Windows-1252")


def wide_encoding(head: bytes) -> tuple[str, bool]:
    """The codec of a text that starts with `head` if it is UTF-16 or UTF-32, and whether a mark says so; or ""."""
    for mark, codec in _MARKS:
        if head.startswith(mark) and (codec == "utf-16" or not len(head) % 4):
            return codec, True
    body = head.rstrip(b"\x00")
    controls = len(_CONTROLS.findall(body))
    if controls <= _STRAY * len(body) and _utf8(head, whole=False) is not None:
        return "", False
    if not controls and (is_western(head) or len(_HIGH.findall(head)) > _DENSE * len(head)):
        return "", False
    found = [(*_coherence(text, codec), codec) for codec in _WIDE if (text := _as_text(head, codec))]
    return (max(found)[-1], False) if found else ("", False)


def is_western(raw: bytes) -> bool:
    """Whether bytes that are no UTF-8 look like Windows-1252: some letters with accents among plain ones."""
    high = len(_HIGH.findall(raw))
    return _CONTROLS.search(raw) is None and len(_WESTERN.findall(raw)) >= 0.8 * high and 2 * high <= len(raw)


def is_text(text: str) -> bool:
    """Whether nearly all characters are letters, digits, signs and spaces of at most one script beside ASCII."""
    scripts: dict[str, int] = {}
    plain = 0
    for char in text:
        code = ord(char)
        if 32 <= code < 127 or char in "\t\r\n" or any(low <= code <= high for low, high in _SIGNS):
            plain += 1
        elif unicodedata.category(char)[0] in "LMNPS" and (script := _script(code)):
            scripts[script] = scripts.get(script, 0) + 1
    return bool(text) and plain + max(scripts.values(), default=0) >= _ENOUGH * len(text)


def _script(code: int) -> str:
    return next((name for name, low, high in _SCRIPTS if low <= code <= high), "")


def _utf8(raw: bytes, whole: bool = True) -> str | None:
    """The text, where it is UTF-8; of a part of one (not `whole`) the last character may be cut off."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(raw, final=whole)
    except UnicodeDecodeError:
        return None


def _as_text(head: bytes, codec: str) -> str:
    """What `head` is in that codec, where that is a text; a character that is cut off at the end is left out."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeDecodeError:
        return ""
    # Programs that end a text with a zero do so in every encoding.
    return text if is_text(text.rstrip("\x00")) else ""


def _coherence(text: str, codec: str) -> tuple[bool, int, int]:
    """More for UTF-32, which hardly anything else is by chance, and for a text of few blocks of 256 characters:
    bytes read in the wrong order are all over the table."""
    return "32" in codec, -len({ord(char) >> 8 for char in text}), sum(char < "\x80" for char in text)

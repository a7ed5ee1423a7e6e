"""What a plan says of captions, as a scan of its pictures and the draws of their captions follow it."""

from dataclasses import dataclass
from typing import Literal

from engine.dataset.captions import MAX_TOKENS

Several = Literal["one", "lines", "files", "all"]

TEMPLATES: dict[str, tuple[str, ...]] = {
    "subject": (
        "a photo of {}",
        "a picture of {}",
        "a close-up photo of {}",
        "a cropped photo of {}",
        "a bright photo of {}",
        "a dark photo of {}",
        "a good photo of {}",
        "a rendering of {}",
    ),
    "style": (
        "a picture in the style of {}",
        "a painting in the style of {}",
        "a drawing in the style of {}",
        "an illustration in the style of {}",
        "a close-up in the style of {}",
        "a dark picture in the style of {}",
        "a bright picture in the style of {}",
        "a scene in the style of {}",
    ),
}
"""Lists that `captions.templates` names; the idea is that of Gal et al. 2022 (arXiv:2208.01618)."""
WORD, CAPTION = "{}", "{caption}"


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """The plan's table [captions]; `protected_tags` are the words that tag dropout never takes, triggers among them."""

    folder: str = ""
    several: Several = "one"
    weights: tuple[float, ...] = ()
    prefix: str = ""
    suffix: str = ""
    class_word: str = ""
    templates: tuple[str, ...] = ()
    wildcards: bool = False
    tag_dropout: float = 0.0
    protected_tags: tuple[str, ...] = ()
    keep_separator: str = ""
    secondary_separator: str = ""
    max_tokens: int = MAX_TOKENS

    @property
    def all_templates(self) -> tuple[str, ...]:
        """The templates, those of the named lists among them."""
        return tuple(text for one in self.templates for text in TEMPLATES.get(one, (one,)))

    def around(self, text: str) -> str:
        """The text with prefix and suffix."""
        head, tail = self._ends()
        return f"{head}{text}{tail}".strip() if text else f"{self.prefix} {self.suffix}".strip()

    def inside(self, text: str) -> tuple[str, str, str]:
        """Prefix, what stands between, and suffix of a text that `around` made; of another one the whole is between."""
        head, tail = self._ends()
        if (head or tail) and text.startswith(head) and text.endswith(tail) and len(text) > len(head + tail):
            return head, text[len(head) : len(text) - len(tail)], tail
        return "", text, ""

    def _ends(self) -> tuple[str, str]:
        joint = "" if self.suffix[:1] in ",.;:!?" else " "
        return (f"{self.prefix} " if self.prefix else ""), joint + self.suffix


USUAL = CaptionRules()

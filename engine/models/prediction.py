"""What a base model predicts, from everything that says so; where that does not agree, the plan has to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.tensorfiles.header import Header

EPSILON, VELOCITY = "epsilon", "v_prediction"
MAX_YAML = 1_000_000
METADATA = ("modelspec.prediction_type", "prediction_type")

_SPELLINGS = {
    **dict.fromkeys(("v", "vpred", "vprediction", "vparam", "vparameterization", "velocity", "velocityprediction",
                     "predictv"), VELOCITY),
    **dict.fromkeys(("eps", "epspred", "epsprediction", "epsilon", "epsilonprediction", "noise", "noiseprediction",
                     "predicteps", "predictepsilon"), EPSILON),
}  # fmt: skip
_YAML = re.compile(r"""["']?\bparameterization["']?\s*:\s*(?:"([^"]*)"|'([^']*)'|([^\s,}#]+))""")


def meaning(said: str) -> str | None:
    """epsilon or v_prediction for any usual spelling of it; none for anything else."""
    return _SPELLINGS.get(re.sub(r"[\s_-]", "", said.strip().lower()))


@dataclass(frozen=True)
class Claim:
    """Something that says what a model predicts: where it stands, and what it says."""

    where: str
    said: str

    @property
    def means(self) -> str | None:
        """epsilon, v_prediction, or none for a word that is not known."""
        return meaning(self.said)

    def __str__(self) -> str:
        return f"{self.where} says {self.said.strip()[:40]!r}"


@dataclass(frozen=True)
class Settled:
    """What the model predicts, and why that is in doubt; an empty `doubt` where everything agrees."""

    prediction: str
    doubt: str = ""


def settle(claims: Sequence[Claim], reasons: list[str]) -> Settled | None:
    """What the claims come to; none where there are none."""
    for claim in claims:
        reasons.append(f"prediction type {claim.means or 'unknown'}: {claim}")
    if not claims:
        return None
    known = list(dict.fromkeys(claim.means for claim in claims if claim.means))
    strange = [str(claim) for claim in claims if claim.means is None]
    doubt = ""
    if strange:
        doubt = f"{'; '.join(strange)}, which is neither epsilon nor v_prediction"
    elif len(known) > 1:
        doubt = "; ".join(str(claim) for claim in claims)
    return Settled(known[0] if known else EPSILON, doubt)


def claims_of(header: Header, velocity: str) -> list[Claim]:
    """What a file's metadata and its marker `velocity`, an empty tensor, say."""
    claims = [
        Claim(f"the file's metadata {key}", header.metadata[key])
        for key in METADATA
        if header.metadata.get(key, "").strip()
    ]
    if velocity and velocity in header.tensors:
        claims.append(Claim(f"the marker {velocity} in the file", velocity))
    return claims


def yaml_claims(path: Path) -> tuple[list[Claim], str]:
    """What a .yaml beside the file says, and its name where one is there that says nothing."""
    silent = ""
    for ending in (".yaml", ".yml"):
        file = path.with_suffix(ending)
        if not file.is_file():
            continue
        try:
            if file.stat().st_size > MAX_YAML:
                continue
            text = file.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        for line in text.splitlines():
            if found := _YAML.search(re.sub(r"(^|\s)#.*", "", line)):
                said = next(group for group in found.groups() if group is not None)
                return [Claim(f"{file.name} beside the file", said)], ""
        silent = file.name
    return [], silent

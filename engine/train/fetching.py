"""What a plan may download comes before anything is loaded: the base model, and a tokenizer for a single file."""

from __future__ import annotations

from engine.downloads import PIPELINE_FILES, download
from engine.models.bases import locate, tokenizer_folder
from engine.models.clip_vocabulary import FILES
from engine.models.tokenizer_folder import CLIP
from engine.plan.schema import Plan
from engine.train.watch import Watch


def fetch_missing(plan: Plan, watch: Watch) -> bool:
    """Download what is not on this machine, where the plan allows it; raises UserError where that fails.

    Returns whether the base came: nobody could look at it before.
    """
    base = plan.base
    if not base.allow_download:
        return False
    found = locate(base.model, allow_download=True)
    came = found.path is None
    if came:
        watch.phase("downloading", base.model)
        download(base.model, PIPELINE_FILES, watch.progress)
        found = locate(base.model, allow_download=True)
    if base.tokenizer is None and tokenizer_folder(found) is None:
        watch.phase("downloading", f"the tokenizer, from {CLIP}")
        download(CLIP, FILES, watch.progress)
    return came

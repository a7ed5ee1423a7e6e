"""The README.md of an exported folder: what it is, how it was made, and how to open it."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.export.base import ExportRequest
from engine.version import package_version

VERSIONS = ("sdtrain-tui", "torch", "diffusers", "transformers", "peft")


def model_card(request: ExportRequest) -> str:
    """Markdown with the front matter that model hubs read."""
    about, model = request.about, request.model
    words = ", ".join(f"`{word}`" for word in about.trigger_words) or "none"
    made = datetime.fromtimestamp(about.created, UTC).isoformat(timespec="seconds")
    rows = {
        **({"trigger words": words} if about.captions else {}),
        "family": f"{model.family}, {model.prediction}{', zero terminal SNR' if model.zero_terminal_snr else ''}",
        "base model": f"`{about.base_model}`",
        "base hash (SHA-256)": f"`{about.base_hash}`",
        "plan hash": f"`{about.plan_hash}`",
        "step": str(request.step),
        **({"weights": about.extra["sdtrain.weights"]} if "sdtrain.weights" in about.extra else {}),
        "pictures": str(about.images),
        "resolution": "{} x {}".format(*about.resolution),
        "seed": str(about.seed),
        "made": made,
        **{name: package_version(name) for name in VERSIONS},
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    prompt = about.trigger_words[0] if about.captions and about.trigger_words else "a prompt"
    rescale = ", guidance_rescale=0.7" if model.zero_terminal_snr else ""
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
tags: [stable-diffusion, {model.family}]
---
# {about.name}

Trained with sdtrain-tui.

| | |
|---|---|
{table}

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/to/this/folder")
pipeline({prompt!r}{rescale}).images[0]
```
"""

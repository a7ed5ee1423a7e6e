"""Build hook: the README as the package index shows it, and the project's addresses.

The index knows no neighbours of the README, so each relative link becomes an address of the repository at the tag of
the version. The repository is the one that GitHub's workflow runs for, or else the remote `origin`; where neither is
known, links become their text and pictures are left out, so that no page has a link that leads nowhere.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A user or a token in front of the host is no part of the address and must not be published.
_REMOTE = re.compile(
    r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)(?P<host>[\w.-]+)[:/](?P<path>[\w./-]+?)(?:\.git)?/?"
)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


class PackagePage(MetadataHookInterface):
    """Hatchling's custom metadata hook; it fills `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to the project's metadata."""
        root, tag = Path(self.root), f"v{metadata['version']}"
        repository = address(os.environ, root)
        text = page((root / "README.md").read_text(encoding="utf-8"), repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(repository, tag)


def address(environment: Mapping[str, str], root: Path) -> str:
    """The repository's address for a browser, without a slash at its end; empty where it is not known."""
    if name := environment.get("GITHUB_REPOSITORY"):
        return f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    # A source archive that was unpacked inside of another repository is not that repository.
    if not (root / ".git").exists():
        return ""
    try:
        asked = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
        remote = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
    known = _REMOTE.fullmatch(remote)
    return f"https://{known['host']}/{known['path']}" if known else ""


def page(text: str, repository: str, tag: str) -> str:
    """`text` with every relative link made absolute, or undone where no repository is known."""

    def absolute(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return link[0]
        if not repository:
            return "" if link["picture"] else link["text"]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['text']}]({repository}/{kind}/{tag}/{target})"

    return _LINK.sub(absolute, text)


def urls(repository: str, tag: str) -> dict[str, str]:
    """The names and addresses that stand beside the page; none where no repository is known."""
    if not repository:
        return {}
    return {
        "Repository": repository,
        "Documentation": f"{repository}/tree/{tag}/docs",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }

"""What the package index shows: every link of the README leads somewhere, and no secret is published."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.package_page import address, page, urls

ROOT = Path(__file__).resolve().parents[2]
HOME = "https://github.com/someone/sdtrain-tui"
TARGET = re.compile(r"\]\(([^)]*)\)")


def metadata(folder: Path, **environment: str) -> email.message.Message:
    """METADATA of the wheel that is built in that environment."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, env={**known, **environment})
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode("utf-8"))


def test_the_built_wheel_has_absolute_links_only(tmp_path: Path) -> None:
    found = metadata(tmp_path, GITHUB_REPOSITORY="someone/sdtrain-tui")
    text, tag = found.get_payload(), f"v{found['Version']}"
    assert isinstance(text, str)
    assert found["Description-Content-Type"] == "text/markdown"
    targets = TARGET.findall(text)
    assert f"{HOME}/raw/{tag}/docs/monitor.svg" in targets and f"{HOME}/blob/{tag}/docs/plan.md" in targets
    assert all(target.startswith("https://") for target in targets)
    ours = [target.split(f"/{tag}/")[1] for target in targets if target.startswith(HOME)]
    assert [name for name in ours if not (ROOT / name).exists()] == []
    assert f"Repository, {HOME}" in found.get_all("Project-URL", [])


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://github.com/someone/sdtrain-tui.git", HOME),
        ("https://github.com/someone/sdtrain-tui/", HOME),
        ("https://someone:secret@github.com/someone/sdtrain-tui.git", HOME),
        ("git@github.com:someone/sdtrain-tui.git", HOME),
        ("ssh://git@github.com/someone/sdtrain-tui", HOME),
        ("https://gitlab.com/group/below/sdtrain-tui.git", "https://gitlab.com/group/below/sdtrain-tui"),
        ("/srv/git/sdtrain-tui", ""),
        ("", ""),
    ],
)
def test_the_address_comes_from_the_remote_without_its_secrets(
    tmp_path: Path, remote: str, expected: str
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    if remote:
        subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", remote], check=True)
    assert address({}, tmp_path) == expected


def test_an_archive_inside_of_another_repository_is_not_that_one(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", f"{HOME}.git"], check=True)
    (tmp_path / "unpacked").mkdir()
    assert address({}, tmp_path / "unpacked") == ""


def test_a_workflow_knows_its_own_repository(tmp_path: Path) -> None:
    here = {"GITHUB_REPOSITORY": "a/b", "GITHUB_SERVER_URL": "https://git.example"}
    assert address(here, tmp_path) == "https://git.example/a/b"


TEXT = "![shot](docs/a.svg) see [the plan](docs/plan.md), [below](#use), [torch](https://pytorch.org)."


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (
            HOME,
            f"![shot]({HOME}/raw/v1/docs/a.svg) see [the plan]({HOME}/blob/v1/docs/plan.md), [below](#use), "
            "[torch](https://pytorch.org).",
        ),
        ("", " see the plan, [below](#use), [torch](https://pytorch.org)."),
    ],
)
def test_only_relative_links_change(repository: str, expected: str) -> None:
    assert page(TEXT, repository, "v1") == expected


def test_without_a_repository_there_are_no_addresses() -> None:
    assert urls("", "v1") == {}
    assert all(address.startswith(HOME) for address in urls(HOME, "v1").values())

"""The files that a code forge reads: they parse, and the tools that they call are those of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def load(path: Path) -> dict[Any, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_few_rights_and_ends_by_itself(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120 and job["runs-on"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1"))
            # What a stranger may name (a branch, a title) never becomes part of a shell's text.
            assert "${{" not in step.get("run", "")


def test_every_python_that_is_promised_is_tested(project: dict[str, Any]) -> None:
    tested = load(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    promised = re.findall(r":: (3\.\d+)", "\n".join(project["project"]["classifiers"]))
    assert tested == promised and project["project"]["requires-python"] == f">={promised[0]}"


def test_torch_is_bound_above_what_is_tested_and_the_newest_is_tried_every_day(
    project: dict[str, Any],
) -> None:
    bound = next(word for word in project["project"]["dependencies"] if word.startswith("torch"))
    upper = re.search(r"<(\d+)\.(\d+)$", bound)
    tested = re.search(r"^torch==(\d+)\.(\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert upper and tested
    assert (int(upper[1]), int(upper[2])) == (int(tested[1]), int(tested[2]) + 1)
    newest = load(ROOT / ".github/workflows/newest.yml")
    # YAML reads the key `on` as true.
    assert re.fullmatch(r"\d+ \d+ \* \* \*", newest[True]["schedule"][0]["cron"])
    said = [step.get("run", "") for step in newest["jobs"]["newest"]["steps"]]
    upgrade = next(index for index, line in enumerate(said) if "--upgrade torch" in line)
    assert "constraints.txt" not in said[upgrade] and "pytest" in said[upgrade + 1]


def test_targets_tests_and_options_that_workflows_name_are_there() -> None:
    said = "\n".join(
        step.get("run", "")
        for path in WORKFLOWS
        for job in load(path)["jobs"].values()
        for step in job["steps"]
    )
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([\w-]+)", said)) <= targets
    folders = re.findall(r"tests/\w+", said)
    assert folders and all((ROOT / folder).is_dir() for folder in folders)


def test_only_the_publishing_job_can_prove_who_it_is() -> None:
    jobs = load(ROOT / ".github/workflows/release.yml")["jobs"]
    able = {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert able == {"publish"} and jobs["publish"]["needs"] == "build" and jobs["publish"]["environment"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks_something(path: Path) -> None:
    form = load(path)
    assert form["name"] and form["description"]
    asked = {part["id"]: part for part in form["body"]}
    assert len(asked) == len(form["body"]) and all(part["attributes"]["label"] for part in asked.values())
    assert any(part.get("validations", {}).get("required") for part in asked.values())


def test_hooks_run_the_same_tools_as_make_check() -> None:
    hooks = {
        hook["id"]: (repo, hook)
        for repo in load(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repo["hooks"]
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    entries = [hook["entry"] for _, hook in hooks.values() if "entry" in hook]
    assert len(entries) == 3 and all(f"\t{entry}\n" in makefile for entry in entries)
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned and hooks["ruff-check"][0]["rev"] == f"v{pinned[1]}"

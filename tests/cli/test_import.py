"""`sdtrain import`: the report, the plan, and that other commands name it where a file is another tool's."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.cli.conftest import Cli
from tests.planning.imports import examples


def test_a_file_becomes_a_plan_that_check_reads(cli: Cli, pictures: Path) -> None:
    file = cli.folder / "config.toml"
    file.write_text(examples.KOHYA.replace("/pictures/set", str(pictures)).replace("AdamW8bit", "AdamW"))
    options = ("-o", "plan.toml", "--set", "base.model=builtin:tiny", "--set", "data.resolution=64")
    done = cli("import", "config.toml", *options)
    assert done.code == 0, done.err
    assert "network_dim = 8 -> lora.rank = 8" in done.out
    assert "something_new = yes  (nothing here is known to be like it)" in done.out
    plan = tomllib.loads((cli.folder / "plan.toml").read_text())
    assert plan["lora"]["rank"] == 8 and plan["data"]["path"] == str(pictures)
    assert (plan["train"]["epochs"], plan["train"]["steps"]) == (2.0, 4)
    checked = cli("check", "plan.toml")
    assert checked.code == 0, checked.out
    again = cli("import", "config.toml", *options)
    assert again.code != 0 and "plan.toml" in again.err
    told = cli("import", "config.toml", "--json", "--set", "base.model=builtin:tiny").json
    assert {"name": "network_dim", "value": 8, "status": "renamed", "key": "lora.rank", "given": 8} in told[
        "lines"
    ]


def test_a_command_is_given_in_quotes_or_behind_dashes(cli: Cli, pictures: Path) -> None:
    sets = ("--set", f"data.path={pictures}")
    for words in ((examples.DREAMBOOTH,), ("--", *examples.DREAMBOOTH.replace('"', "").split()[:9])):
        done = cli("import", "--json", *sets, *words)
        assert done.code == 0, done.err
        assert done.json["tool"] == "diffusers' train_dreambooth.py"


def test_other_commands_say_whose_file_it_is(cli: Cli) -> None:
    (cli.folder / "train.yaml").write_text(examples.AITOOLKIT)
    for words in (("check", "train.yaml"), ("run", "train.yaml"), ("new", "train.yaml")):
        done = cli(*words)
        assert done.code == 2 and "settings of ai-toolkit" in done.err
        assert "sdtrain import train.yaml -o plan.toml" in done.err
    assert "Traceback" not in cli("new", "nothing.toml").err


def test_what_is_missing_is_named_after_the_report(cli: Cli) -> None:
    (cli.folder / "gui.json").write_text(json.dumps(examples.GUI))
    done = cli("import", "gui.json", "-o", "plan.toml")
    assert done.code == 2 and "the base model and the pictures" in done.err and "lora.rank = 32" in done.out
    assert not (cli.folder / "plan.toml").exists()

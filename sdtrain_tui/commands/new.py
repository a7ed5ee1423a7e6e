"""`sdtrain new`: the wizard, or straight to a plan when the flags say enough."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from sdtrain_tui.codes import BAD_INPUT, DONE
from sdtrain_tui.commands.plans import counted, print_problems, refuse_foreign, set_argument
from sdtrain_tui.commands.terminal import has_terminal, open_app
from sdtrain_tui.commands.texts import TOML_LONG, clean, escaped, print_json, writable_name

if TYPE_CHECKING:
    from engine.plan.fields import PlanField
    from engine.plan.problems import Problem
    from engine.plan.schema import Plan
    from engine.planning.build import Built

# Flags that have a name of their own; every other field is reached by --set.
FLAGS: dict[str, str] = {
    "--name": "name",
    "--method": "method",
    "--base": "base.model",
    "--allow-download": "base.allow_download",
    "--data": "data.path",
    "--trigger": "data.trigger",
    "--resolution": "data.resolution",
    "--steps": "train.steps",
    "--epochs": "train.epochs",
    "--batch-size": "train.batch_size",
    "--learning-rate": "train.learning_rate",
    "--prompt": "samples.prompts",
    "--seed": "seed",
}
SEVERAL = frozenset({"--data"})
"""Flags of one field that may be given more than once."""
NEEDED = {"base.model": "--base", "data.path": "--data"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help=argparse.SUPPRESS)
    fields = _fields()
    for flag, keys in _flags().items():
        first = fields[keys[0]]
        repeat = first.kind == "list" or flag in SEVERAL
        alike = all(fields[key].choices == first.choices for key in keys)
        if first.kind == "bool":
            parser.add_argument(flag, dest=flag, action="store_true", default=None, help=_help(first, False))
            continue
        parser.add_argument(
            flag,
            dest=flag,
            metavar=flag.lstrip("-").upper().replace("-", "_"),
            action="append" if repeat else "store",
            choices=(first.choices if alike else None) or None,
            help=_help(first, repeat),
        )
    set_argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the plan file (default: NAME.toml here; - is stdout)",
    )
    parser.add_argument(
        "--force", action="store_true", help="write it although the file is there, or the plan has errors"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _flags() -> dict[str, list[str]]:
    """All flags, each with its field, or with that of every method which declares it."""
    from engine.plan.methods import METHODS

    flags = {flag: [key] for flag, key in FLAGS.items()}
    for name, spec in METHODS.items():
        for flag, field in spec.flags.items():
            if flag not in FLAGS:
                flags.setdefault(flag, []).append(f"{name}.{field}")
    return flags


def _key(flag: str, method: str) -> str:
    """The field that a flag means in a plan of this method; UserError where the method has none."""
    from engine.plan.methods import METHODS
    from engine.plan.schema import plan_fields

    if flag in FLAGS:
        return FLAGS[flag]
    spec = METHODS[method]
    if flag in spec.flags:
        return f"{method}.{spec.flags[flag]}"
    takers = ", ".join(name for name, other in METHODS.items() if flag in other.flags)
    own = [field.key for field in plan_fields(method) if field.key.startswith(f"{method}.")]
    what, why = f"{flag}: {spec.title} has nothing like it", f"methods that take it: {takers}"
    raise UserError(what, why, f"leave it out; with --set it takes {', '.join(own)}")


def _fields() -> dict[str, PlanField]:
    from engine.plan.methods import METHODS
    from engine.plan.schema import plan_fields

    return {field.key: field for method in METHODS for field in plan_fields(method)}


def _help(field: PlanField, repeat: bool) -> str:
    bounds = "" if field.choices else field.bounds_text
    parts = [field.help, bounds, f"in {field.unit}" if field.unit and field.unit not in field.help else ""]
    text = "; ".join(part for part in parts if part) + (" (repeatable)" if repeat else "")
    return text.replace("%", "%%")


def run(args: argparse.Namespace) -> int:
    if args.file is not None:
        refuse_foreign(args.file)
        raise UserError(
            f"{args.file} is not read here", "a new plan is made from flags", f"sdtrain check {args.file}"
        )
    answers = _answers(args)
    missing = [flag for key, flag in NEEDED.items() if not answers.get(key)]
    if answers.get("data.sets"):
        missing = [flag for flag in missing if flag != "--data"]
    if missing:
        if has_terminal() and not args.json:
            return open_app(start="wizard", answers=answers)
        raise UserError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed",
            "there is no terminal to ask in",
            "for example: sdtrain new --base builtin:tiny --data photos/cat -o plan.toml",
        )
    return _write(args, answers)


def _answers(args: argparse.Namespace) -> dict[str, object]:
    from engine.plan.files import other_tables
    from engine.plan.methods import DEFAULT_METHOD, METHODS
    from engine.plan.overrides import parse_set, parse_value, put
    from engine.plan.problems import PlanErrors

    sets = dict(parse_set(item) for item in args.sets)
    given = {flag: getattr(args, flag) for flag in _flags() if getattr(args, flag) is not None}
    named = sets.get("method", given.get("--method", DEFAULT_METHOD))
    method = named if isinstance(named, str) and named in METHODS else DEFAULT_METHOD
    fields = _fields()
    answers: dict[str, object] = {}
    if folders := given.pop("--data", None):
        # Several folders are sets, whose names may say repeats and words.
        answers |= {"data.path": folders[0]} if len(folders) == 1 else {"data.sets": _sets(folders)}
    for flag, value in given.items():
        key = _key(flag, method)
        kind = fields[key].kind
        # A flag's text stands for itself; only numbers and truth values have to be read.
        answers[key] = parse_value(value, kind) if isinstance(value, str) and kind != "str" else value
    answers |= sets
    tables: dict[str, object] = {}
    for key, value in answers.items():
        put(tables, key, value)
    if method == named and (problems := other_tables(tables, method)):
        raise PlanErrors(problems, "the command")
    return answers


def _sets(folders: list[str]) -> list[dict[str, object]]:
    from engine.dataset.repeat_folders import named

    tables: list[dict[str, object]] = []
    for folder in folders:
        found = named(Path(folder).expanduser().absolute().name)
        own = {"repeats": found.repeats, "trigger": found.words, "add_trigger": False} if found else {}
        tables.append({"path": folder, **own})
    return tables


def _write(args: argparse.Namespace, answers: dict[str, object]) -> int:
    from engine.plan.files import dumps
    from engine.planning.build import build, gather, refuse_wrong
    from engine.planning.check import check, errors_of

    writable_name("-o", args.output)
    refuse_wrong(answers)
    facts = gather(answers)
    if facts.problems:
        first = facts.problems[0]
        raise UserError(f"{first.key}: {first.what}", first.why, first.fix)
    built = build(answers, facts)
    problems = check(built.plan, report=facts.report, base=facts.base)
    refused = bool(errors_of(problems)) and not args.force
    to_stdout = str(args.output) == "-"
    path = args.output or Path(f"{built.plan.name}.toml")
    if refused:
        path = None
    elif to_stdout:
        sys.stdout.write(escaped(dumps(built.plan), TOML_LONG))
    else:
        _save(path, built.plan, args.force)
    if not to_stdout:
        _tell(args, built, problems, path)
    elif problems:
        print_problems(problems)
    return BAD_INPUT if refused else DONE


def _save(path: Path, plan: Plan, force: bool) -> None:
    from engine.plan.files import save_plan

    try:
        save_plan(path, plan, replace=force)
    except FileExistsError:
        raise UserError(
            f"{path} is there already", "a plan is never overwritten unasked", "give another -o, or --force"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write {path}", error.strerror or str(error), "give another place with -o"
        ) from error


def _tell(args: argparse.Namespace, built: Built, problems: list[Problem], path: Path | None) -> None:
    if args.json:
        print_json(
            {
                "plan": path and path.absolute(),
                "name": built.plan.name,
                "derived": built.derived,
                "problems": [problem.to_json() for problem in problems],
            }
        )
        return
    print_problems(problems)
    if path is None:
        print(f"no plan was written: {counted(problems)}", file=sys.stderr)
        return
    print("derived:")
    for item in built.derived:
        print(clean(f"  {item.key} = {_short(item.value)}  ({item.why})"))
    print(f"wrote {path}\nstart it with: sdtrain run {path}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""`sdtrain caption DATA --model M`: captions by a model on this machine, into a folder that a plan can name."""

from __future__ import annotations

import argparse
from pathlib import Path

import tomli_w

from engine.errors import UserError
from engine.files import expanded
from engine.run.paths import captions_folder
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.child import Record, run_module
from sdtrain_tui.commands.texts import clean, print_json, writable_name


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="DATA", type=Path, help="a folder of pictures or shards, or a .tar")
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="blip (sentences), wd14 (tags), a hub id in the hub's cache, or a folder",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the captions go (default: the program's own)",
    )
    parser.add_argument(
        "--threshold", type=_share, default=0.35, metavar="P", help="tags from this probability on (0.35)"
    )
    parser.add_argument(
        "--character-threshold", type=_share, default=0.85, metavar="P", help="names of characters (0.85)"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="TAG",
        help="a tag that is never listed; may be repeated",
    )
    parser.add_argument("--max-tokens", type=int, default=60, metavar="N", help="of a sentence, at most (60)")
    parser.add_argument("--device", default="auto", help="for sentences: auto, cpu, cuda or cuda:N")
    parser.add_argument("--overwrite", action="store_true", help="write captions anew that are there")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    if args.max_tokens < 1:
        raise UserError("--max-tokens is out of range", "a sentence has a token or more", "give 60")
    writable_name("-o", args.output)
    data = expanded(args.path).absolute()
    out = captions_folder(data) if args.output is None else expanded(args.output).absolute()
    model = expanded(Path(args.model)).absolute() if Path(args.model).exists() else args.model
    words = [str(data), "--model", str(model), "--out", str(out), "--device", args.device]
    words += ["--threshold", str(args.threshold), "--character-threshold", str(args.character_threshold)]
    words += ["--max-tokens", str(args.max_tokens), *(f"--without={tag}" for tag in args.without)]
    words += ["--overwrite"] if args.overwrite else []
    records = run_module("engine.captioning.write", *words, on_line=None if args.json else _tell)
    made = [record for record in records if record.get("kind") == "captioned"]
    if not made:
        raise UserError("no caption was written", "the model said nothing", "run `sdtrain doctor`")
    if args.json:
        print_json({**made[0], "captions": [each for each in records if each.get("kind") == "caption"]})
    return DONE


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _tell(record: Record) -> None:
    if record.get("kind") == "caption":
        said = record.get("caption") or record.get("text") or record.get("state")
        print(clean(f"{record.get('done')}/{record.get('total')} {record.get('file')}: {said}"), flush=True)
    elif record.get("kind") == "captioned":
        states = ", ".join(f"{record.get(name)} {name}" for name in ("written", "kept", "failed"))
        print(clean(f"{states}: {record.get('folder')}"))
        print("read them, mend them, and train with them: in the plan")
        table = tomli_w.dumps({"captions": {"folder": str(record.get("folder"))}})
        print("\n".join(clean(line) for line in table.splitlines()))

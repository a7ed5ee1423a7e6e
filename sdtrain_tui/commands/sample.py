"""`sdtrain sample RUN`: draw the plan's previews now, or one prompt."""

from __future__ import annotations

import argparse
import sys

from engine.run.control_commands import Sample
from sdtrain_tui.codes import FAILED
from sdtrain_tui.commands.ask import ask, control_arguments, living, tell
from sdtrain_tui.commands.texts import clean


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 600)
    parser.add_argument("--prompt", metavar="TEXT", help="draw this instead of the plan's prompts")


def run(args: argparse.Namespace) -> int:
    found = living(args.run)
    answer = ask(found, Sample(args.prompt or ""), args.wait)
    earlier = {item.t for item in answer.before.previews}
    drawn = [item for item in answer.view.previews if item.t not in earlier]
    pictures = [str(found.path / item.path) for item in drawn if item.path]
    errors = [item.error for item in drawn if item.error]
    code = tell(found, "sample", answer, args.json, {"pictures": pictures, "errors": errors})
    if not args.json:
        for path in pictures:
            print(path)
        for error in errors:
            print(clean(f"a preview failed: {error}"), file=sys.stderr)
    return FAILED if errors and not pictures else code

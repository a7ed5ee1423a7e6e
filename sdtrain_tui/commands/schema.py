"""`sdtrain schema`: every field of a plan as JSON schema or as docs/plan.md; the run's files as docs/events.md."""

from __future__ import annotations

import argparse
import sys

from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.texts import print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="the page docs/plan.md")
    parser.add_argument(
        "--events", action="store_true", help="the page docs/events.md: a run's events and commands"
    )
    parser.add_argument("--json", action="store_true", help="JSON schema (the default)")


def run(args: argparse.Namespace) -> int:
    from engine.planning.docs import markdown, schema_json
    from engine.run import docs

    if args.events:
        sys.stdout.write(docs.markdown())
    elif args.markdown:
        sys.stdout.write(markdown())
    else:
        print_json(schema_json())
    return DONE

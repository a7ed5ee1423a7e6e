"""`python -m engine.captioning.write DATA --model M --out FOLDER`: a caption for each picture, into a folder.

Prints JSON lines: {"kind": "caption", ...} for each picture and {"kind": "captioned", ...} at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from engine.captioning.models import find
from engine.dataset.caption_folder import file_names
from engine.dataset.images import Pixels, load_rgb
from engine.dataset.refusals import PictureError
from engine.dataset.report import Item
from engine.dataset.scan import scan
from engine.errors import UserError
from engine.files import make_private, write_atomic

Describe = Callable[[Pixels], str]
Record = dict[str, object]


def main(arguments: Sequence[str]) -> int:
    """0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m engine.captioning.write", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--character-threshold", type=float, required=True)
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--overwrite", action="store_true")
    given = parser.parse_args(arguments)
    try:
        report = scan(given.data, resolution=512, recursive=True)
        # What else keeps such a folder from being trained on does not matter to its pictures' captions.
        items = report.items or report.require().items
        refuse_place(given.out, given.data)
        describe = _loaded(given)
        make_private(given.out)
        for record in write_all(items, describe, given.out, given.overwrite):
            print(json.dumps(record), flush=True)
    except UserError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"cannot write the captions\nwhy: {error}\nfix: check the folder and the free space",
            file=sys.stderr,
        )
        return 2
    return 0


def _loaded(given: argparse.Namespace) -> Describe:
    found = find(given.model)
    if found.kind == "tagger":
        from engine.captioning import tagger

        return tagger.load(found.folder, given.threshold, given.character_threshold, given.without)
    from engine.captioning import describer
    from engine.worker.library_logs import silence

    silence()
    return describer.load(found.folder, given.device, given.max_tokens)


def refuse_place(out: Path, data: Path) -> None:
    """UserError for a folder inside of the pictures', where nothing is ever written."""
    folder = data if data.is_dir() else data.parent
    if out.resolve().is_relative_to(folder.resolve()):
        why = "the folder of the pictures is only read"
        raise UserError(f"captions cannot be written into {out}", why, "name another folder with -o")


def write_all(items: Iterable[Item], describe: Describe, out: Path, overwrite: bool) -> Iterator[Record]:
    """A file for each picture, with its name and in its sub-folder; those that are there stay as they are.

    Gives a record for each picture as it is done, and one at the end. A picture that cannot be read is passed over.
    """
    items = list(items)
    names = file_names([item.rel for item in items])
    counts: Counter[str] = Counter()
    for done, (item, name) in enumerate(zip(items, names, strict=True), 1):
        file = out / name
        record: Record = {"kind": "caption", "file": item.rel, "done": done, "total": len(items)}
        if not file.resolve().is_relative_to(out.resolve()):
            state, more = "failed", {"text": "its name leads out of the folder of captions"}
        elif file.exists() and not overwrite:
            state, more = "kept", {}
        else:
            state, more = _written(item, describe, file)
        counts[state] += 1
        yield {**record, "state": state, **more}
    states = {name: counts[name] for name in ("written", "kept", "failed")}
    yield {"kind": "captioned", "folder": str(out), **states}


def _written(item: Item, describe: Describe, file: Path) -> tuple[str, dict[str, str]]:
    try:
        caption = describe(load_rgb(item.source))
    except PictureError as error:
        return "failed", {"text": error.what}
    if not caption:
        return "failed", {
            "text": "the model has no words for it (of a tagger, a lower --threshold gives some)"
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, f"{caption}\n")
    return "written", {"caption": caption}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

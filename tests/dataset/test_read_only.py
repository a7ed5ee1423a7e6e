"""The user's folder is never written to, whatever is asked of the dataset package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

USE_EVERYTHING = """
import json, os, sys
folder, cache, written = sys.argv[1], sys.argv[2], []
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.utime", "os.truncate",
           "os.link", "os.symlink", "os.setxattr", "os.removexattr")
def watch(event, args):
    if event == "open":
        flags = args[2] or 0
        if isinstance(args[0], (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            written.append(os.fsdecode(args[0]))
    elif event in CHANGES:
        written.extend(os.fsdecode(arg) for arg in args if isinstance(arg, (str, bytes)) or hasattr(arg, "__fspath__"))
sys.addaudithook(watch)
from pathlib import Path
import torch
from engine.dataset.cache import TensorCache, latent_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.dataset.images import fit, load_rgb
from engine.dataset.scan import scan
os.chdir(folder)
report = scan(Path(folder), resolution=32, trigger="sks", recursive=True, deep=True)
report.text(); report.to_json()
store = TensorCache(Path(cache))
encoder = CachedEncoder(
    store,
    lambda item: latent_key(store.contents.sha256(item.path), item.size, (0.5, 0.5), False, "vae"),
    lambda item: lambda: {"latents": torch.from_numpy(fit(load_rgb(item.path), *item.size))},
)
done = encoder.ensure(report.items)
for item in report.items:
    encoder.get(item)
paths = [os.path.abspath(path) for path in written]
print(json.dumps({"items": len(report.items), "encoded": done, "written": paths}))
"""


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found: dict[str, tuple[int, int, int, bytes]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.stat()
        found[str(path)] = (
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_mode,
            b"" if path.is_dir() else path.read_bytes(),
        )
    return found


def dataset(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    for index, suffix in enumerate((".png", ".jpg", ".webp", ".tiff", ".bmp", ".gif")):
        array = np.random.default_rng(index).integers(0, 256, (40, 32, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f"{index}{suffix}")
        (folder / f"{index}.txt").write_text(f"a picture {index}")
    Image.new("RGB", (32, 32)).save(folder / "sub" / "a.png")
    (folder / "sub" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "black"}\n')
    whole = (folder / "0.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[:-100])
    os.utime(folder / "0.png", (1_000_000_000, 1_000_000_000))


def test_scan_cache_and_reading_leave_a_read_only_folder_as_it_was(tmp_path: Path) -> None:
    data, cache = tmp_path / "pictures", tmp_path / "cache"
    dataset(data)
    for path in [*data.rglob("*"), data]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(data)
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-B", "-c", USE_EVERYTHING, str(data), str(cache)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["items"] == told["encoded"] == 7
    assert told["written"], "the watch itself must see the cache being written"
    assert not [path for path in told["written"] if Path(path).is_relative_to(data)]
    assert snapshot(data) == before

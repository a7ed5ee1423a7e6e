"""A hub on this machine: the requests that huggingface_hub's client makes for a model, answered from a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 4096
"""Bytes from which a file counts as one of git-lfs, whose checksum is SHA-256."""


class Hub:
    """`models` holds a folder for each owner/name. `spoil` names files that are sent with a byte changed, `gate` blocks
    the sending of weights until it is set."""

    def __init__(self, models: dict[str, Path]) -> None:
        self.models = models
        self.spoil: set[str] = set()
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.silent = False
        """Does it leave every question unanswered until the gate is set?"""
        self.url = ""

    def files(self, model: str) -> list[str]:
        folder = self.models[model]
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def data(self, model: str, name: str) -> bytes:
        return (self.models[model] / name).read_bytes()


def etag(data: bytes) -> str:
    """What the hub names a file by."""
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.silent:
            self.hub.waiting.set()
            self.hub.gate.wait(60)
        for model in self.hub.models:
            if path.startswith(f"/api/models/{model}/tree/"):
                self._json([self._entry(model, name) for name in self.hub.files(model)], body)
                return
            if path == f"/api/models/{model}" or path.startswith(f"/api/models/{model}/revision/"):
                siblings = [{"rfilename": name} for name in self.hub.files(model)]
                self._json(
                    {"id": model, "modelId": model, "sha": COMMIT, "siblings": siblings, "tags": []}, body
                )
                return
            start = f"/{model}/resolve/"
            if path.startswith(start):
                self._file(model, path.removeprefix(start).partition("/")[2], body)
                return
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _entry(self, model: str, name: str) -> dict[str, Any]:
        data = self.hub.data(model, name)
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
        if len(data) >= LARGE:
            entry["lfs"] = {"oid": etag(data), "size": len(data), "pointerSize": 130}
        else:
            entry["oid"] = etag(data)
        return entry

    def _json(self, value: object, body: bool) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def _file(self, model: str, name: str, body: bool) -> None:
        data = self.hub.data(model, name)
        tag = etag(data)
        if name in self.hub.spoil:
            data = bytes([data[0] ^ 1]) + data[1:]
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body and not self.hub.gate.is_set() and name.endswith(".safetensors"):
            half = (len(data) + begin) // 2
            self.wfile.write(data[begin:half])
            self.wfile.flush()
            begin = half
            self.hub.waiting.set()
            self.hub.gate.wait(60)
        if body:
            try:
                self.wfile.write(data[begin:])
            except OSError:
                self.close_connection = True


@contextmanager
def serving(models: dict[str, Path]) -> Iterator[Hub]:
    """A hub on a free port of the loopback."""
    hub = Hub(models)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.gate.set()
            server.shutdown()
            thread.join()

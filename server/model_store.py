"""The models on disk: where they are, and whether they are what the catalogue says.

A store is a directory with one folder a model, `<root>/<model>/<file>`, and nothing else that counts: it can
be filled by hand, copied to another machine or mounted read-only. No record is kept of what was checked when:
hashing all models takes about a second, and what it says cannot be out of date.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from media.errors import ModelMissing
from server.catalogue import Catalogue, Model, ModelFile, load_catalogue

ROOT_VARIABLE = "VOXTRAL_KOKORO_MODELS_DIR"


def default_root() -> Path:
    """The store's directory: `VOXTRAL_KOKORO_MODELS_DIR`, or `voxtral-kokoro/models` in the user's cache."""
    if chosen := os.environ.get(ROOT_VARIABLE):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "voxtral-kokoro" / "models"


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ModelState(StrEnum):
    """What a quick look (existence and size) says of a model."""

    READY = "ready"
    INCOMPLETE = "incomplete"
    ABSENT = "not fetched"


class ModelStore:
    """The models under one directory. Reading it never changes it; `server.model_fetch` fills it."""

    def __init__(self, root: Path, catalogue: Catalogue | None = None) -> None:
        self.root = root
        self.catalogue = load_catalogue() if catalogue is None else catalogue

    @property
    def fetch_command(self) -> str:
        """What fills this store, for a shell."""
        elsewhere = "" if self.root == default_root() else f" --models-dir {shlex.quote(str(self.root))}"
        return f"voxtral-kokoro models fetch{elsewhere}"

    def path(self, name: str) -> Path:
        """The folder of a model whose files are all there and of the right size.

        The quick check of a server that starts; `faults` reads the whole files.

        Raises:
            ConfigError: no model is called so.
            ModelMissing: a file is not there, or its size is wrong.
        """
        model = self.catalogue.model(name)
        for fault in self._quick_faults(model):
            raise ModelMissing(
                f"The model {name} is not complete in {self.root}: {fault}. Run `{self.fetch_command}`."
            )
        return self.folder(model)

    def quickest(self, name: str, file: str) -> Path:
        """A model's file, or what was made of it here to be computed faster, where that is there.

        Raises: as `path`.
        """
        folder, model = self.path(name), self.catalogue.model(name)
        made = (made for made, about in model.made.items() if about.of == file)
        whole = (made for made in made if _size_fault(folder / made, model.made[made]) is None)
        return folder / next(whole, file)

    def state(self, model: Model) -> ModelState:
        if next(self._quick_faults(model), None) is None:
            return ModelState.READY
        return ModelState.INCOMPLETE if self.folder(model).is_dir() else ModelState.ABSENT

    def faults(self, model: Model) -> Iterator[str]:
        """What is wrong with the model's files, each checked to its last byte: one phrase a file."""
        for name in (*model.files, *model.made):
            if fault := self._fault(model, name):
                yield fault

    def holds(self, model: Model, name: str) -> bool:
        """Whether the model's file of that name is there and is, to its last byte, the catalogue's."""
        return self._fault(model, name) is None

    def folder(self, model: Model) -> Path:
        return self.root / model.name

    def _quick_faults(self, model: Model) -> Iterator[str]:
        for name, expected in model.files.items():
            if fault := _size_fault(self.folder(model) / name, expected):
                yield fault

    def _fault(self, model: Model, name: str) -> str | None:
        path, expected = self.folder(model) / name, model.made.get(name) or model.files[name]
        if fault := _size_fault(path, expected):
            return fault
        return None if sha256_of(path) == expected.sha256 else f"{name} has the wrong content"


def _size_fault(path: Path, expected: ModelFile) -> str | None:
    try:
        size_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return f"{path.name} is missing"
    if size_bytes == expected.size_bytes:
        return None
    return f"{path.name} has {size_bytes} bytes instead of {expected.size_bytes}"

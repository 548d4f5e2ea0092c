"""A Dockerfile's stages, read as Docker reads them, as far as ours go."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Copy:
    """`COPY`.

    Attributes:
        sources: what is copied.
        target: where to.
        stage: which one it is copied from; None for the checkout.
    """

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass
class Stage:
    """What one `FROM` begins.

    Attributes:
        name: empty where it has none.
        base: an image, or another stage.
        steps: its instructions: their name and the rest.
    """

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def copies(self) -> list[Copy]:
        return [_copy(rest) for instruction, rest in self.steps if instruction == "COPY"]

    @property
    def runs(self) -> list[str]:
        """Commands, for a shell."""
        return [re.sub(r"^(--\S+\s+)+", "", rest) for name, rest in self.steps if name == "RUN"]

    @property
    def environment(self) -> dict[str, str]:
        pairs = (pair for name, rest in self.steps if name == "ENV" for pair in shlex.split(rest))
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}

    def last(self, instruction: str) -> str | None:
        """The rest of the last such instruction."""
        found = [rest for name, rest in self.steps if name == instruction]
        return found[-1] if found else None


def read(path: Path) -> dict[str, Stage]:
    """The stages by their names, in their order."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: dict[str, Stage] = {}
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = re.sub(r"\s+", " ", rest).partition(" AS ")
            stage = stages[name] = Stage(name, base)
        else:
            stage.steps.append((instruction, rest.strip()))
    return stages


def line_of(stages: dict[str, Stage], name: str) -> list[Stage]:
    """A stage after those that it is built on, the first of them first."""
    stage = stages[name]
    return [*(line_of(stages, stage.base) if stage.base in stages else []), stage]


def _copy(rest: str) -> Copy:
    options, words = [], []
    for word in rest.split():
        (options if word.startswith("--") else words).append(word)
    origin = [option.removeprefix("--from=") for option in options if option.startswith("--from=")]
    return Copy(tuple(words[:-1]), words[-1], origin[0] if origin else None)

"""What is said when a model's files are not what they should be: one sentence, with the command to run."""

from __future__ import annotations

from pathlib import Path

from media.errors import ModelMissing

_REMEDY = "run `voxtral-kokoro models fetch`"


def require_files(*files: Path) -> None:
    """Checks that each file is there and not empty.

    Raises:
        ModelMissing: names the first one that is not.
    """
    for file in files:
        if not file.is_file():
            raise ModelMissing(f"The model file {file} is missing: {_REMEDY}.")
        if file.stat().st_size == 0:
            raise ModelMissing(f"The model file {file} is empty: {_REMEDY}.")


def damaged(file: Path) -> ModelMissing:
    """The error for a file that is there, but that its backend cannot read."""
    return ModelMissing(f"The model file {file} is truncated or damaged: {_REMEDY}.")

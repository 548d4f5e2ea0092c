"""Clients from npm, as they are published: where they lie, and made into modules that a page can load."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALL_LIMIT_S = 150.0


@functools.cache
def npm_folder() -> Path:
    """The folder with `node_modules`. Skips the test where it cannot be had, and says why."""
    done = subprocess.run(
        [ROOT / "scripts" / "npm-clients"],
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_LIMIT_S,
    )
    if done.returncode:
        pytest.skip(done.stderr.strip())
    return Path(done.stdout.strip())


def bundled(package: str) -> bytes:
    """A package and all that it needs, in one module."""
    folder = npm_folder()
    done = subprocess.run(
        [folder / "node_modules" / ".bin" / "esbuild", "--bundle", "--format=esm", "--log-level=error"],
        cwd=folder,
        input=f'export * from "{package}";'.encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout

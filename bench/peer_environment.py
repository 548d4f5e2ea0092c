"""Environments of their own for the programs of others that are called or that call: made once, and kept."""

from __future__ import annotations

import fcntl
import os
import subprocess
import venv
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "voxtral-kokoro" / "bench"


def peer_environment(name: str, *requirements: str) -> Path:
    """The Python of an environment with these packages in it, made the first time.

    Args:
        name: of its folder, which must change when the requirements do.
        requirements: for pip, pinned.

    Raises:
        CalledProcessError: pip could not install them; its `stderr` says why.
    """
    folder = CACHE / name
    python = folder / "bin" / "python"
    stamp = folder / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    # One makes it, and the others wait.
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            print(f"installing {' '.join(requirements)} into {folder}", flush=True)
            venv.create(folder, with_pip=True, clear=True)
            install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            subprocess.run([*install, *requirements], check=True, capture_output=True, text=True)
            stamp.touch()
    return python

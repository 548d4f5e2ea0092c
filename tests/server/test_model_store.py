"""The store and its fetching, with the real pip, npm and hub client on registries of this machine's own.

The wheels are made here and found by pip in a folder; `npm pack` takes a folder as a package; the hub is a
small HTTP server. Nothing leaves the machine. The store, its fetching and the command share these registries,
and are one module, however long.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media.errors import ConfigError, ModelMissing, ServerFault
from server import models_cli
from server.catalogue import Catalogue, MadeFile, Model, load_catalogue
from server.gguf_widening import widen
from server.model_fetch import fetch
from server.model_sources import reason_in
from server.model_store import ModelState, ModelStore, default_root
from tests.server.gguf_files import gguf

REVISION = "a" * 40
EARS = b"ears " * 5000
VOICE = {"alto.bin": b"alto " * 700, "bass.bin": b"bass " * 800}
LARGE = b"a model that is cut in two parts, " * 3000


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


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is pip's only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def ears(wheels: Path) -> Model:
    return ears_from(make_wheel(wheels, "toy-ears", {"ears.onnx": EARS}))


@pytest.fixture
def large(wheels: Path) -> Model:
    """A model of a file in two parts and one in one piece, from two wheels."""
    half = len(LARGE) // 2
    first = make_wheel(wheels, "toy-part-1", {"part": LARGE[:half], "config.json": b"{}"})
    second = make_wheel(wheels, "toy-part-2", {"part": LARGE[half:]})
    archives = [
        first | {"folder": "toy_part_1", "members": {"model.bin": "toy_part_1/part"}},
        second | {"members": {"model.bin": "toy_part_2/part"}},
    ]
    return model("large", {"model.bin": LARGE, "config.json": b"{}"}, {"kind": "pypi", "archives": archives})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A model hub on loopback: path in the repository `toy/voices` to content."""
    content: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def _head(self) -> bytes | None:
            name = self.path.removeprefix(f"/toy/voices/resolve/{REVISION}/")
            data = content.get(name)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("X-Repo-Commit", REVISION)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{sha256(data)}"')
            self.end_headers()
            return data

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            if data := self._head():
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield content
        server.shutdown()
        thread.join()


HUB_SOURCE = {"kind": "hub", "repository": "toy/voices", "revision": REVISION, "folder": "voices"}


def store_of(tmp_path: Path, *models: Model) -> ModelStore:
    return ModelStore(tmp_path / "models", Catalogue(models))


def fetch_all(store: ModelStore) -> Told:
    told = Told()
    asyncio.run(fetch(store, store.catalogue.select(), told))
    return told


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Reading the store


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOXTRAL_KOKORO_MODELS_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path.home() / ".cache/voxtral-kokoro/models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "voxtral-kokoro/models"
    monkeypatch.setenv("VOXTRAL_KOKORO_MODELS_DIR", str(tmp_path / "elsewhere"))
    assert default_root() == tmp_path / "elsewhere"


def test_the_usual_store_is_filled_without_naming_it() -> None:
    assert ModelStore(default_root()).fetch_command == "voxtral-kokoro models fetch"


def test_a_missing_and_a_truncated_file_are_named_with_the_remedy(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    assert store.state(ears) is ModelState.ABSENT
    command = re.escape(f"Run `voxtral-kokoro models fetch --models-dir {tmp_path / 'models'}`.")
    with pytest.raises(ModelMissing, match=rf"ears\.onnx is missing\. {command}$"):
        store.path("ears")
    file = tmp_path / "models/ears/ears.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(EARS[:-1])
    assert store.state(ears) is ModelState.INCOMPLETE
    with pytest.raises(ModelMissing, match=r"ears\.onnx has 24999 bytes instead of 25000"):
        store.path("ears")
    file.write_bytes(EARS)
    assert store.state(ears) is ModelState.READY
    assert store.path("ears") == file.parent


def test_a_flipped_bit_passes_the_quick_check_but_not_the_full_one(tmp_path: Path, ears: Model) -> None:
    store = store_of(tmp_path, ears)
    file = tmp_path / "models/ears/ears.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"f" + EARS[1:])
    assert store.path("ears") == file.parent
    assert list(store.faults(ears)) == ["ears.onnx has the wrong content"]


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, ears: Model) -> None:
    with pytest.raises(ConfigError, match=r"no model called eears: did you mean ears\?"):
        store_of(tmp_path, ears).path("eears")


# Fetching


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


# npm and the hub


@pytest.fixture
def voice_sources(tmp_path: Path) -> dict[str, Any]:
    """An npm package in a folder; npm packs the same bytes each time."""
    if shutil.which("npm") is None:
        pytest.fail("These tests need npm (Debian: apt install npm).")
    folder = tmp_path / "toy-voices"
    (folder / "voices").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "toy-voices", "version": "1.0.0"}))
    for name, content in VOICE.items():
        (folder / "voices" / name).write_bytes(content)
    spec = f"file:{folder}"
    command = ["npm", "pack", "--silent", f"--cache={tmp_path / 'npm'}", f"toy-voices@{spec}"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    entry = archive_entry("toy-voices", spec, tmp_path / "toy-voices-1.0.0.tgz")
    return {"kind": "npm", "archives": [entry | {"folder": "package/voices"}]}


def without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "no-programs"
    nowhere.mkdir()
    monkeypatch.setenv("PATH", str(nowhere))


def test_voices_come_out_of_their_npm_package(tmp_path: Path, voice_sources: dict[str, Any]) -> None:
    store = store_of(tmp_path, model("voices", VOICE, voice_sources))
    fetch_all(store)
    assert {path.name: path.read_bytes() for path in store.path("voices").iterdir()} == VOICE


def test_without_npm_the_voices_come_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    hub |= {f"voices/{name}": content for name, content in VOICE.items()}
    without_npm(tmp_path, monkeypatch)
    store = store_of(tmp_path, model("voices", VOICE, voice_sources, HUB_SOURCE))
    told = fetch_all(store)
    assert "npm is not installed" in told.notes[0]
    assert {path.name: path.read_bytes() for path in store.path("voices").iterdir()} == VOICE


def test_without_the_hubs_file_the_voices_come_from_npm(
    tmp_path: Path, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    store = store_of(tmp_path, model("voices", VOICE, HUB_SOURCE, voice_sources))
    told = fetch_all(store)
    assert "toy/voices from the model hub: it does not have that version" in told.notes[0]
    assert list(store.faults(store.catalogue.model("voices"))) == []


def test_a_hubs_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, hub: dict[str, bytes]) -> None:
    hub |= {f"voices/{name}": content[::-1] for name, content in VOICE.items()}
    store = store_of(tmp_path, model("voices", VOICE, HUB_SOURCE))
    with pytest.raises(ModelMissing, match=r"alto\.bin from toy/voices is not the pinned file"):
        fetch_all(store)


def test_when_every_source_fails_each_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice_sources: dict[str, Any], hub: dict[str, bytes]
) -> None:
    without_npm(tmp_path, monkeypatch)
    store = store_of(tmp_path, model("voices", VOICE, voice_sources, HUB_SOURCE))
    with pytest.raises(ModelMissing) as failure:
        fetch_all(store)
    assert "npm is not installed" in str(failure.value)
    assert "toy/voices from the model hub" in str(failure.value)
    assert str(failure.value).endswith(f"run `{store.fetch_command}` again: what is complete is kept.")


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("python: No module named pip", "pip is not in this environment"),
        ("WARNING: Retrying … NewConnectionError(…)\nERROR: … (from versions: none)", "cannot be reached"),
        ("ERROR: … (from versions: none)\nERROR: No matching distribution", "does not carry it"),
        ("ERROR: … (from versions: 5.1, 6.0)\nERROR: No matching distribution", "does not have that version"),
        ("npm error code ENOTFOUND\nnpm error syscall getaddrinfo", "cannot be reached"),
        ("npm error code ETARGET\nnpm error notarget", "does not have that version"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "set HF_TOKEN"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened", "cannot be reached"),
        ("something\nquite new\n\n", "quite new"),
        ("", "said nothing"),
    ],
)
def test_what_a_client_printed_is_put_in_words(printed: str, reason: str) -> None:
    assert reason in reason_in(printed)


# Interruption and concurrency


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


# The command


def test_a_terminal_gets_a_bar_and_a_log_gets_lines() -> None:
    terminal, log = io.StringIO(), io.StringIO()
    for progress in (models_cli.BarProgress(terminal), models_cli.LineProgress(log)):
        progress.planned(20_000_000)
        progress.started("toy-ears 1.0", 10_000_000)
        progress.advanced(5_000_000)
        progress.finished(2.5)
    assert log.getvalue().splitlines() == [
        "Fetching 20 MB of models.",
        "  toy-ears 1.0                           10.0 MB    2.5 s",
    ]
    assert "\r██████··················    5 of 20 MB  toy-ears 1.0" in terminal.getvalue()
    assert log.getvalue().splitlines()[1] in terminal.getvalue()


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", "models", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_list_shows_every_model_and_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ears: Model
) -> None:
    store = store_of(tmp_path, ears)
    assert models_cli.list_models(store, (ears,)) == 0
    assert "ears  vad   0.0 MB  MIT      not fetched  pypi toy-ears 1.0" in capsys.readouterr().out


def test_verify_names_the_bad_one_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ears: Model
) -> None:
    store = store_of(tmp_path, ears)
    fetch_all(store)
    assert models_cli.verify_models(store, (ears,)) == 0
    assert capsys.readouterr().out == "ears: ok\n"
    (store.root / "ears/ears.onnx").write_bytes(EARS[:10])
    assert models_cli.verify_models(store, (ears,)) == 1
    assert "ears: ears.onnx has 10 bytes instead of 25000" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_model_in_a_sentence(tmp_path: Path) -> None:
    done = run_command("verify", "silero", "--models-dir", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr == "There is no model called silero: did you mean silero-vad?\n"


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


@pytest.mark.models
def test_the_embedded_models_are_what_the_catalogue_says() -> None:
    done = run_command("verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{name}: ok" for name in load_catalogue().models]

"""Logs: where they go, what is on each line, and what never is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from pathlib import Path

import pytest

from media.errors import ConfigError
from server.logs import LoggingSettings, current_call, logging_to, set_level

log = logging.getLogger("server.test")


def to_file(path: Path, **settings: object) -> LoggingSettings:
    return LoggingSettings.model_validate({"console": False, "file": path, **settings})


def test_a_line_of_text(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    with logging_to(to_file(path)):
        log.info("call ended", extra={"duration_s": 1.5, "why": 'said "bye"\nand left', "_library": 1})
    line = path.read_text().splitlines()
    assert len(line) == 1
    time, rest = line[0].split(" ", 1)
    assert time.endswith("Z")
    assert rest == (
        'INFO server.test call=- msg="call ended" duration_s=1.5 why="said \\"bye\\"\\nand left"'
    )  # fmt: skip


def test_a_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with logging_to(to_file(path, format="json")):
        log.warning("slow %s", "stage", extra={"stage": "tts", "path": Path("x")})
    entry = json.loads(path.read_text())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "WARNING",
        "logger": "server.test",
        "call": "-",
        "msg": "slow stage",
        "stage": "tts",
        "path": "x",
    }


def test_each_line_of_a_call_carries_its_id(tmp_path: Path) -> None:
    """Also those of tasks that it starts, at any depth; other calls' lines carry theirs."""
    path = tmp_path / "a.log"

    async def part(step: int) -> None:
        await asyncio.sleep(0)
        log.info("step", extra={"step": step})

    async def call(call_id: str) -> None:
        current_call.set(call_id)
        async with asyncio.TaskGroup() as tasks:
            for step in range(3):
                tasks.create_task(part(step))

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call("rtc_1"))
            tasks.create_task(call("rtc_2"))
        log.info("nobody's")

    with logging_to(to_file(path, format="json")):
        asyncio.run(main())
    calls = [json.loads(line)["call"] for line in path.read_text().splitlines()]
    assert sorted(calls) == ["-", *["rtc_1"] * 3, *["rtc_2"] * 3]


def test_a_call_id_that_is_given_counts_where_no_call_is_current(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with logging_to(to_file(path, format="json")):
        log.info("answered", extra={"call_id": "rtc_9"})
    entry = json.loads(path.read_text())
    assert entry["call"] == "rtc_9"
    assert "call_id" not in entry


def test_a_traceback_stays_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with logging_to(to_file(path)):
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("call failed")
    (line,) = path.read_text().splitlines()
    assert 'traceback="Traceback (most recent call last)' in line
    assert "ValueError: broken" in line


def test_the_file_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with logging_to(to_file(path, file_max_bytes=10_000, file_count=2)):
        for number in range(1000):
            log.info("line", extra={"number": number})
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a.log", "a.log.1", "a.log.2"]
    assert all(file.stat().st_size <= 10_000 for file in files)
    assert "number=999" in path.read_text()


def test_levels_and_the_libraries_that_talk_much(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with logging_to(to_file(path, level="info")):
        log.debug("hidden")
        logging.getLogger("aioice.ice").info("chatter")
        logging.getLogger("aioice.ice").warning("trouble")
        set_level("debug")
        log.debug("shown")
        logging.getLogger("aioice.ice").info("wanted chatter")
        set_level("error")
        log.warning("too little")
        logging.getLogger("aioice.ice").warning("too little too")
    messages = [line.split("msg=")[1] for line in path.read_text().splitlines()]
    assert messages == ["trouble", "shown", '"wanted chatter"']


def test_logging_does_not_wait_for_a_writer_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or a terminal that hangs must not stop the audio."""
    let_go = threading.Event()
    written: list[str] = []

    class Hanging(io.StringIO):
        def write(self, text: str) -> int:
            let_go.wait()
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Hanging())
    with logging_to(LoggingSettings(console=True, file=None)):
        log.info("first")
        log.info("second")
        assert not written
        let_go.set()
    assert ["first" in written[0], "second" in "".join(written)] == [True, True]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"set logging\.file, or null for none"):
        with logging_to(to_file(tmp_path / "file" / "a.log")):
            pass


def test_nothing_of_the_set_up_remains(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers)
    with logging_to(to_file(tmp_path / "a.log")):
        pass
    assert logging.getLogger().handlers == before
    assert not [thread for thread in threading.enumerate() if "(_monitor)" in thread.name]

"""SIPp: scripted callers and called, whose every message is written down in `sipp/*.xml`.

A scenario that gets anything else than what it says fails, and so does one that waits too long.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.peers.phone_programs import Program, free_media_ports, free_sip_port, program, running

SCENARIOS = Path(__file__).with_suffix("")
LIMIT_S = 60
"""For all calls of a scenario."""
RECEIVE_LIMIT_S = 20
"""For any one message, if its scenario says nothing else."""
_TRANSPORTS = {"udp": "u1", "tcp": "t1"}


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a scenario's calls.

    Attributes:
        successful: that went as written.
        failed: that did not.
        retransmissions: that SIPp had to send.
    """

    successful: int
    failed: int
    retransmissions: int


@dataclass(frozen=True, slots=True)
class Sipp:
    """A scenario that runs.

    Attributes:
        port: where it is.
        folder: its logs.
        running: the program.
    """

    port: int
    folder: Path
    running: Program

    @property
    def uri(self) -> str:
        """Where it is called."""
        return f"sip:sipp@127.0.0.1:{self.port}"

    def until_done(self) -> Counts:
        """Waits until all its calls are over.

        Raises:
            AssertionError: one of them did not go as written; says what came, and what was sent.
        """
        try:
            status = self.running.process.wait(LIMIT_S + 10)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIPp does not end:\n{self.story()}") from None
        counts = self.counts()
        assert (status, counts.failed) == (0, 0), f"status {status}, {counts}:\n{self.story()}"
        return counts

    def counts(self) -> Counts:
        """What its statistics say at the end."""
        path = self.folder / "statistics.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        assert rows, f"no statistics:\n{self.story()}"
        last = rows[-1]
        return Counts(
            int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"])
        )

    def messages(self) -> str:
        """Everything that was sent and received."""
        path = self.folder / "messages.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def story(self) -> str:
        """Its complaints and messages."""
        errors = self.folder / "errors.log"
        complaints = errors.read_text(errors="replace") if errors.exists() else ""
        return f"{complaints[-4000:]}\n{self.messages()[-12_000:]}\n{self.running.said()[-500:]}"


@contextmanager
def sipp(
    folder: Path,
    scenario: str,
    target_port: int | None = None,
    *,
    calls: int = 1,
    rate: int = 10,
    transport: Literal["udp", "tcp"] = "udp",
    keys: Mapping[str, str] | None = None,
    user: str = "sipp",
    password: str = "",
    echoes: bool = False,
    service: str = "assistant",
    rows: Path | None = None,
    loses_percent: int = 0,
    pause_s: float = 0.0,
    port: int | None = None,
) -> Iterator[Sipp]:
    """Starts a scenario.

    Args:
        folder: for its logs.
        scenario: the name of a file in `sipp/`.
        target_port: on loopback, whom it calls; None is for one that is called.
        calls: until it ends.
        rate: of calls that it makes in a second.
        transport: that it uses.
        keys: words of the scenario and what stands for them.
        user: who it says that it is when it is asked for credentials.
        password: that goes with it.
        echoes: sends all sound back.
        service: whom it calls.
        rows: a CSV with the `[field0]` and so on of each call.
        loses_percent: of the messages, both ways: those that repeat them are to repeat them.
        pause_s: how long each of its pauses is that says nothing itself.
        port: where it is; a free one by default.
    """
    path = program("sipp")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_sip_port()
    options = [
        *("-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-p", str(port)),
        *("-t", _TRANSPORTS[transport], "-m", str(calls), "-r", str(rate), "-s", service, "-nostdin"),
        *("-timeout", f"{LIMIT_S}s", "-timeout_error", "-recv_timeout", f"{RECEIVE_LIMIT_S}s"),
        *("-trace_err", "-error_file", "errors.log", "-trace_msg", "-message_file", "messages.log"),
        *("-trace_stat", "-stf", "statistics.csv", "-fd", "1", "-skip_rlimit", "-cid_str", "%u-%p@%s"),
        *("-d", str(round(pause_s * 1000))),
        *("-mi", "127.0.0.1", "-mp", str(free_media_ports()[0]), "-au", user, "-ap", password or "none"),
    ]
    for name, value in (keys or {}).items():
        options += ["-key", name, value]
    if loses_percent:
        options += ["-lost", str(loses_percent)]
    if echoes:
        options.append("-rtp_echo")
    if rows is not None:
        options += ["-inf", str(rows)]
    if target_port is not None:
        options.append(f"127.0.0.1:{target_port}")
    with running([path, *options], folder / "sipp.log", {"TERM": "dumb"}) as process:
        started = Sipp(port, folder, process)
        if target_port is None:
            process.until(lambda: _listens(port), "SIPp does not listen")
        yield started


def _listens(port: int) -> bool:
    """Whether a UDP or TCP socket has the port: a scenario would take a message for a call."""
    wanted = f"0100007F:{port:04X}"
    tables = (Path("/proc/net/udp"), Path("/proc/net/tcp"))
    return any(wanted in table.read_text() for table in tables)


def played(folder: Path, scenario: str, target_port: int | None = None, **options: object) -> Sipp:
    """Runs a scenario that calls to its end.

    Raises:
        AssertionError: it did not go as written.
    """
    with sipp(folder, scenario, target_port, **options) as running_scenario:  # type: ignore[arg-type]
        running_scenario.until_done()
    return running_scenario

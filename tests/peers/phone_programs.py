"""Programs that telephone, as Debian packs them: where they are, how one is started, watched and ended."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

MEDIA_PORTS = 24
"""So many does each phone have."""
STEP_LIMIT_S = 30.0
"""How long any one thing that a phone is waited for may take: on a busy machine, each takes its time."""
_END_LIMIT_S = 10.0
_SIP_PORTS = range(20_000, 32_000, 2)
_MEDIA_PORTS = range(10_000, 19_900, MEDIA_PORTS)
"""Both below those that the system gives out."""
_tried = itertools.count(os.getpid() * 7)
"""No port comes twice in a row: a phone takes a moment to bind. Another run of the tests begins elsewhere."""
_LOOK_AGAIN_S = 0.02
_PING_LIMIT_S = 0.5


def program(name: str) -> str:
    """Its path. Skips the test where there is none: `scripts/phones` installs them on Debian."""
    if sys.platform != "linux":
        pytest.skip("telephones are driven as Debian packs them")
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if path is None:
        pytest.skip(f"not installed: {name} (scripts/phones)")
    return path


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs, with what it has said so far in a file.

    Attributes:
        process: the program.
        log: what it writes to stdout and stderr.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Everything that it has written."""
        return self.log.read_text(errors="replace")

    def until_said(
        self, pattern: str, *, after: int = 0, times: int = 1, limit_s: float = STEP_LIMIT_S
    ) -> re.Match[str]:
        """Waits until a pattern has been written so many times, after the first so many letters of what was
        said. Returns the last match.

        Raises:
            AssertionError: it was not, within the limit or before the program ended.
        """
        found: list[re.Match[str]] = []

        def enough() -> bool:
            found[:] = re.compile(pattern, re.MULTILINE).finditer(self.said(), after)
            return len(found) >= times

        self.until(enough, f"{pattern!r} was not said {times} times", limit_s)
        return found[-1]

    def until(self, holds: Callable[[], bool], otherwise: str, limit_s: float = STEP_LIMIT_S) -> None:
        """Waits for something of which nothing tells: it is looked for again and again.

        Raises:
            AssertionError: it does not hold within the limit, or once the program has ended.
        """
        deadline_s = time.monotonic() + limit_s
        while not holds():
            ended = self.process.poll() is not None
            if (ended and not holds()) or time.monotonic() > deadline_s:
                state = f"ended with {self.process.returncode}" if ended else "runs on"
                raise AssertionError(f"{otherwise}; it {state} and said:\n{self.said()[-6000:]}")
            time.sleep(_LOOK_AGAIN_S)


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Program]:
    """Starts a program, and ends it where it has not ended itself."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Program(process, log)
    finally:
        end(process)
        # Of Kamailio's processes, the first usually sees to the others.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and then sees to it."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def free_sip_port() -> int:
    """A port on loopback that nobody has now, over UDP or TCP, nor the one after it: for TLS."""
    return _free(_SIP_PORTS, 2, socket.SOCK_DGRAM, socket.SOCK_STREAM)


def free_media_ports() -> range:
    """Neighbouring UDP ports that nobody has now."""
    first = _free(_MEDIA_PORTS, MEDIA_PORTS, socket.SOCK_DGRAM)
    return range(first, first + MEDIA_PORTS)


def _free(firsts: range, count: int, *kinds: int) -> int:
    """The first of so many neighbours that nobody has."""
    for number in itertools.islice(_tried, 1000):
        first = firsts[number % len(firsts)]
        with ExitStack() as bound:
            try:
                for port, kind in itertools.product(range(first, first + count), kinds):
                    sock = bound.enter_context(socket.socket(socket.AF_INET, kind))
                    sock.bind(("0.0.0.0", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free port")


def answers_options(port: int) -> bool:
    """Whether somebody on loopback answers OPTIONS over UDP, no matter what."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", port))
        sock.settimeout(_PING_LIMIT_S)
        here = f"127.0.0.1:{sock.getsockname()[1]}"
        lines = [
            f"OPTIONS sip:127.0.0.1:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{here}",
            f"From: <sip:ping@{here}>;tag={here}",
            f"To: <sip:127.0.0.1:{port}>",
            f"Call-ID: {here}",
            "CSeq: 1 OPTIONS",
            "Max-Forwards: 1",
            "Content-Length: 0",
        ]
        try:
            sock.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            return sock.recv(4096).startswith(b"SIP/2.0 ")
        except (ConnectionRefusedError, TimeoutError):
            return False

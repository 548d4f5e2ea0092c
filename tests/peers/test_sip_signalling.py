"""SIPp against the server: callers and called by the book, beside it, and on a bad line.

The server's engines are scripted: nobody listens here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers.nonsense import write_rows
from tests.peers.phone_line import RTP_PORTS, Line, answering
from tests.peers.phone_programs import free_sip_port, program
from tests.peers.sipp import Counts, Sipp, played, sipp

pytestmark = pytest.mark.timeout(120)

ACCOUNT = {"uri": "sip:voice@127.0.0.1", "password": "of-the-voice", "registers": False}


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    """Whoever calls from this machine is answered at once; nothing is left of any call in the end."""
    program("sipp")
    with answering(accounts=[ACCOUNT]) as answers:
        yield answers
        # An answer that found no way back is given up after 32 s (RFC 3261, 13.3.1.4).
        answers.server.until_free(RTP_PORTS, limit_s=60)


@pytest.mark.parametrize(
    ("scenario", "transport"),
    [
        ("calls", "udp"),
        ("calls", "tcp"),
        ("cancels_too_late", "udp"),
        ("holds", "udp"),
        ("holds", "tcp"),
        ("offers_late", "udp"),
        ("refreshes", "udp"),
        ("asks_for_less", "udp"),
        ("asks_for_less", "tcp"),
        ("asks_what_it_can", "udp"),
        ("asks_what_it_can", "tcp"),
        ("transfers_callee", "udp"),
        ("is_transferred", "udp"),
        ("is_not_transferred", "tcp"),
        ("is_transferred_and_hangs_up", "udp"),
        ("refuses_transfer", "udp"),
    ],
)
def test_callers(line: Line, tmp_path: Path, scenario: str, transport: str) -> None:
    line.server.forget()
    played(tmp_path, scenario, line.port, transport=transport, pause_s=0.3)
    if scenario != "asks_what_it_can":
        line.server.until_ended()


def test_the_answer_is_repeated_until_it_is_acknowledged(line: Line, tmp_path: Path) -> None:
    called = played(tmp_path, "acknowledges_late", line.port)
    assert called.messages().count("CSeq: 1 INVITE\n") > 1 + 2, "INVITE, and at least two answers"


def test_keys_come_by_info(line: Line, tmp_path: Path) -> None:
    line.server.forget()
    played(tmp_path, "presses_by_info", line.port, pause_s=0.3)
    line.server.until_pressed("4*7")


def test_a_bad_line(line: Line, tmp_path: Path) -> None:
    """A tenth of all messages is lost, both ways."""
    called = played(tmp_path, "calls", line.port, calls=20, rate=20, loses_percent=10, pause_s=0.2)
    assert called.counts().successful == 20
    # Up to 32 s where an acknowledgement was among what was lost (RFC 3261, 13.3.1.4).
    line.server.until_free(RTP_PORTS, limit_s=60)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_nonsense(line: Line, tmp_path: Path, transport: str) -> None:
    port, rows = free_sip_port(), tmp_path / "rows.csv"
    count = write_rows(rows, port)
    folder = tmp_path / "nonsense"
    sent = played(
        folder, "sends_nonsense", line.port, calls=count, rate=100, rows=rows, port=port, transport=transport
    )
    assert sent.counts().successful == count
    played(tmp_path / "sense", "calls", line.port, transport=transport)


def test_who_gives_up_while_it_rings(tmp_path: Path) -> None:
    with answering(answer_after_s=30) as rings:
        for transport in ("udp", "tcp"):
            played(tmp_path / transport, "cancels", rings.port, transport=transport)
        rings.server.until_free(RTP_PORTS)


def test_callers_say_who_they_are(tmp_path: Path) -> None:
    users = [{"name": "sipp", "password": "of-sipp"}]
    # SIPp knows no other.
    with answering(access={"users": users, "algorithms": ["MD5"]}) as asks:
        played(tmp_path / "1", "is_challenged", asks.port, password="of-sipp")
        played(tmp_path / "2", "is_challenged", asks.port, password="of-sipp", transport="tcp")
        played(tmp_path / "3", "is_refused", asks.port, password="a-guess")
    with answering(access={"users": [{"name": "alice", "password": "of-alice"}]}) as asks:
        played(tmp_path / "4", "is_ignored", asks.port)


def test_scanners_hear_nothing(tmp_path: Path) -> None:
    with answering(access={"networks": ["192.0.2.0/24"]}) as silent:
        played(tmp_path, "is_ignored", silent.port)


# Called


@contextmanager
def called(line: Line, folder: Path, scenario: str, **options: Any) -> Iterator[tuple[Sipp, str]]:
    """The server calls a scenario, which is then to come to its end. Gives the call's id, too."""
    with sipp(folder, scenario, **options) as other:
        by = ";transport=tcp" if options.get("transport") == "tcp" else ""
        yield other, line.server.place(f"{other.uri}{by}")
        other.until_done()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_is_placed_and_ended_here(line: Line, tmp_path: Path, transport: str) -> None:
    with called(line, tmp_path, "is_called", transport=transport) as (_, call_id):
        line.server.until_record(call_id, state="answered")
        line.server.hang_up(call_id)
    assert line.server.until_record(call_id, state="ended")["outcome"] == "completed"


def test_a_call_is_placed_and_ended_there(line: Line, tmp_path: Path) -> None:
    with called(line, tmp_path, "hangs_up", pause_s=0.5) as (_, call_id):
        pass
    assert line.server.until_record(call_id, state="ended")["outcome"] == "completed"


def test_who_is_called_is_busy(line: Line, tmp_path: Path) -> None:
    with called(line, tmp_path, "is_busy") as (_, call_id):
        record = line.server.until_record(call_id, state="ended")
    assert (record["outcome"], record["sip_status"]) == ("busy", 486)


def test_who_is_called_asks_for_a_password(line: Line, tmp_path: Path) -> None:
    with called(line, tmp_path, "challenges") as (_, call_id):
        line.server.until_record(call_id, state="answered")
        line.server.hang_up(call_id)


@pytest.mark.parametrize("scenario", ["is_called_off", "answers_as_it_is_called_off"])
def test_a_call_is_called_off(line: Line, tmp_path: Path, scenario: str) -> None:
    with called(line, tmp_path, scenario) as (_, call_id):
        line.server.until_record(call_id, state="ringing")
        line.server.hang_up(call_id)
    assert line.server.until_record(call_id, state="ended")["outcome"] == "cancelled"


def test_two_answer(line: Line, tmp_path: Path) -> None:
    with called(line, tmp_path, "forks") as (other, call_id):
        other.running.until(lambda: "BYE " in other.messages(), "the second one was not hung up on")
        line.server.hang_up(call_id)


def test_both_offer_at_once(line: Line, tmp_path: Path) -> None:
    with called(line, tmp_path, "offers_at_once", pause_s=0.3) as (other, call_id):
        other.running.until(lambda: other.messages().count("ACK ") > 1, "nothing was agreed on")
        line.server.hang_up(call_id)


def test_calls_on_a_bad_line(line: Line, tmp_path: Path) -> None:
    with sipp(tmp_path, "hangs_up", calls=8, loses_percent=10, pause_s=0.3) as other:
        placed = [line.server.place(other.uri) for _ in range(8)]
        assert other.until_done() == Counts(8, 0, other.counts().retransmissions)
    for call_id in placed:
        assert line.server.until_record(call_id, state="ended")["outcome"] == "completed"

"""Kamailio as a registrar and as a proxy that stays on the path of every call (Record-Route), on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.phone_programs import Program, answers_options, free_sip_port, program, running

CONFIGURATION = Path(__file__).with_suffix(".cfg")
REALM = "kamailio.test"
PASSWORD = "of-everybody-here"


@dataclass(frozen=True, slots=True)
class Kamailio:
    """A proxy that runs.

    Attributes:
        port: on loopback, over UDP and TCP.
        running: the program; what it passes on it says as `passes INVITE from alice to bob by udp from …`.
    """

    port: int
    running: Program

    def uri(self, user: str, by: str = "") -> str:
        """Where who registers as this user is called; without one, where it is itself.

        `by` is a transport other than UDP.
        """
        who = f"{user}@" if user else ""
        return f"sip:{who}127.0.0.1:{self.port}{by and f';transport={by}'}"

    def until_passed(self, method: str, *, user: str = r"\S+", times: int = 1) -> None:
        """Waits until it has let so many requests from a user through: first ones, or with credentials."""
        self.running.until_said(f"passes {method} from {user} ", times=times)


@contextmanager
def kamailio(
    folder: Path, *, assistant_port: int = 9, min_expires_s: int = 60, nonce_expires_s: int = 300
) -> Iterator[Kamailio]:
    """Starts one.

    Args:
        folder: for what it needs and writes.
        assistant_port: where the calls to `assistant` go, on loopback.
        min_expires_s: a registration for less gets 423.
        nonce_expires_s: credentials that are older are stale.
    """
    path = program("kamailio")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_sip_port()
    dispatcher_list = folder / "dispatcher.list"
    dispatcher_list.write_text(f"1 sip:127.0.0.1:{assistant_port}\n")
    defined = {
        "REALM": f'"{REALM}"',
        "PASSWORD": f'"{PASSWORD}"',
        "DISPATCHER_LIST": f'"{dispatcher_list}"',
        "MIN_EXPIRES": min_expires_s,
        "NONCE_EXPIRES": nonce_expires_s,
    }
    options = [
        *(option for by in ("udp", "tcp") for option in ("-l", f"{by}:127.0.0.1:{port}")),
        *(option for name, value in defined.items() for option in ("-A", f"{name}={value}")),
    ]
    command = [path, "-f", CONFIGURATION, "-DD", "-E", "-m", "32", "-M", "4", "-Y", folder]
    with running([*command, *options], folder / "kamailio.log") as process:
        process.until(lambda: answers_options(port), "no answer to OPTIONS")
        yield Kamailio(port, process)

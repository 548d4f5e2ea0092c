"""linphonec: a phone that is steered by what is written to its stdin, with files in place of a sound card."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.audio_file import read_audio
from tests.peers.kamailio import PASSWORD, Kamailio
from tests.peers.phone_programs import (
    STEP_LIMIT_S,
    Program,
    free_media_ports,
    free_sip_port,
    program,
    running,
)

Codec = Literal["opus", "PCMU", "PCMA", "G722"]

_NUMBERS: dict[Codec, int] = {"opus": 0, "PCMU": 3, "PCMA": 4, "G722": 6}
"""In its list of codecs."""
QUIT_LIMIT_S = 20.0
_WAV_HEADER_BYTES = 44
_AUDIBLE = 500
"""Of 32768."""
_AUDIBLE_SAMPLES = 1000


@dataclass(slots=True)
class Linphone:
    """A phone that runs.

    Attributes:
        port: where it listens, over UDP and TCP.
        folder: its configuration and recordings.
        running: the program.
    """

    port: int
    folder: Path
    running: Program
    _waited_for: int = 0

    @property
    def uri(self) -> str:
        """Where it is called."""
        return f"sip:linphone@127.0.0.1:{self.port}"

    def command(self, line: str) -> None:
        """Types something."""
        stdin = self.running.process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()

    def until(self, pattern: str, limit_s: float = STEP_LIMIT_S) -> None:
        """Waits until it says something that it had not said when it was last waited for."""
        match = self.running.until_said(pattern, after=self._waited_for, limit_s=limit_s)
        self._waited_for = match.end()

    def dial(self, uri: str) -> None:
        """Calls. Nothing is waited for."""
        self.command(f"call {uri}")

    def call(self, uri: str) -> None:
        """Calls, and waits until there is sound."""
        self.dial(uri)
        self.until("Media streams established")

    def until_called(self) -> None:
        """Waits until it has answered a call."""
        self.until("Media streams established")

    def until_it_hears(self, limit_s: float = STEP_LIMIT_S) -> None:
        """Waits until it has heard, from now on, an eighth of a second that somebody would notice."""
        path = self.folder / "heard.wav"
        since = path.stat().st_size if path.exists() else _WAV_HEADER_BYTES

        def audible() -> bool:
            recorded = path.read_bytes() if path.exists() else b""
            samples = np.frombuffer(recorded[since : since + (len(recorded) - since) // 2 * 2], "<i2")
            return np.count_nonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE) > _AUDIBLE_SAMPLES

        self.running.until(audible, "it hears nothing", limit_s)

    def press(self, digit: str) -> None:
        """Presses one key."""
        self.command(digit)

    def hold(self) -> None:
        """Puts the call on hold, and waits until it is."""
        self.command("pause")
        self.until("is now paused")

    def resume(self) -> None:
        """Takes it up again, and waits until there is sound."""
        self.command("resume")
        self.until("Media streams established")

    def hang_up(self) -> None:
        """Ends the call and waits for its end."""
        self.command("terminate")
        self.until_ended()

    def until_ended(self) -> None:
        """Waits until the call has ended."""
        self.until(r"ended \(|Call \d+ .* (ended|error)")

    def quit(self) -> Audio:
        """Ends the phone. Returns what it has heard, which is whole only then, as 16 kHz."""
        self.close()
        return read_audio(self.folder / "heard.wav", SPEECH_RATE_HZ)

    def close(self) -> None:
        """Ends the phone: a signal would not, for ten seconds."""
        if self.running.process.poll() is None:
            self.command("quit")
            with suppress(subprocess.TimeoutExpired):
                self.running.process.wait(QUIT_LIMIT_S)

    def sip(self) -> str:
        """The messages that it sent and received, among what else it logged."""
        return (self.folder / "linphone.debug").read_text(errors="replace")


@contextmanager
def linphone(
    folder: Path,
    speech: Path,
    *,
    codec: Codec = "PCMU",
    answers: bool = True,
    srtp: bool = False,
    session_expires_s: int = 0,
    registrar: Kamailio | None = None,
) -> Iterator[Linphone]:
    """Starts a phone.

    Args:
        folder: for what it needs and writes.
        speech: what its microphone hears from the beginning of a call on.
        codec: the only one that it knows.
        answers: takes what rings by itself.
        srtp: takes no call whose media is not encrypted.
        session_expires_s: what it asks for (RFC 4028); 0 is for calls without a timer.
        registrar: where it registers, and what its calls go through.
    """
    path = program("linphonec")
    (folder / ".local" / "share" / "linphone").mkdir(parents=True)
    port, media = free_sip_port(), free_media_ports()
    (folder / "linphonerc").write_text(
        f"""[sip]
sip_port={port}
sip_tcp_port={port}
sip_tls_port=-1
ipv6_migration_done=1
use_ipv6=0
guess_hostname=1
contact="linphone" <sip:linphone@127.0.0.1>
media_encryption={"srtp" if srtp else "none"}
session_expires_enabled={int(session_expires_s > 0)}
session_expires_value={session_expires_s}
session_expires_min_value={session_expires_s}
[rtp]
audio_rtp_port={media[0]}-{media[-1]}
[sound]
echocancellation=0
[video]
enabled=0
"""
    )
    command = [path, "-c", folder / "linphonerc", "-d", "6", "-l", folder / "linphone.debug"]
    if answers:
        command.append("-a")
    with running(command, folder / "linphone.log", {"HOME": str(folder)}, subprocess.PIPE) as process:
        phone = Linphone(port, folder, process)
        try:
            phone.until("linphonec>")
            phone.command("soundcard use files")
            phone.command(f"record {folder / 'heard.wav'}")
            phone.command(f"play {speech}")
            phone.command("codec disable all")
            phone.command(f"codec enable {_NUMBERS[codec]}")
            phone.until(rf"{_NUMBERS[codec]}: {codec} .*enabled")
            if registrar is not None:
                phone.command(f"register {registrar.uri('linphone')} {registrar.uri('')} {PASSWORD}")
                process.until(lambda: "Register refresher [200]" in phone.sip(), "not registered")
            yield phone
        finally:
            phone.close()

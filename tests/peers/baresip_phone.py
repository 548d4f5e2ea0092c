"""Debian's baresip: a phone whose microphone is a WAV, which writes what it hears into others.

It is steered over its `ctrl_tcp`: JSON in netstrings, commands in, replies and events out.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.audio_file import read_audio, write_wav
from media.resampler import resample
from tests.peers.kamailio import PASSWORD, Kamailio
from tests.peers.phone_programs import (
    STEP_LIMIT_S,
    Program,
    free_media_ports,
    free_sip_port,
    program,
    running,
)

Codec = Literal["PCMU", "PCMA", "G722", "opus"]
Transport = Literal["udp", "tcp", "tls"]

MODULES = Path("/usr/lib/baresip/modules")
_SPECS: dict[Codec, str] = {"PCMU": "PCMU", "PCMA": "PCMA", "G722": "G722/16000/1", "opus": "opus/48000/2"}
_PRESS_ENDS = "\x04"
"""Control-D: the key is let go."""
_RECV_BYTES = 65_536
_WAV_HEADER_BYTES = 44
_SOUND = "CALL_RTPESTAB"

Event = dict[str, Any]


@dataclass(slots=True)
class Baresip:
    """A phone that runs.

    Attributes:
        uri: where it is called.
        port: where it listens, over UDP and TCP.
        folder: its configuration and recordings.
        running: the program.
        events: those that came and were not waited for yet.
    """

    uri: str
    port: int
    folder: Path
    running: Program
    _control: socket.socket
    events: list[Event] = field(default_factory=list)
    _replies: list[Event] = field(default_factory=list)
    _unread: bytes = b""

    def dial(self, uri: str) -> None:
        """Calls. Nothing is waited for."""
        self.command("dial", uri)

    def call(self, uri: str) -> None:
        """Calls, and waits until it is answered."""
        self.dial(uri)
        self.until("CALL_ESTABLISHED")

    def accept(self) -> None:
        """Answers what rings."""
        self.command("accept")

    def hang_up(self) -> None:
        """Ends the call and waits for its end, after which its recording is whole."""
        self.command("hangup")
        self.until("CALL_CLOSED")

    def press(self, digits: str) -> None:
        """Presses keys, one after the other."""
        for digit in digits:
            self.command("sndcode", digit)
            self.command("sndcode", _PRESS_ENDS)

    def say(self, path: Path) -> None:
        """Speaks this recording from now on, as `microphone` wrote it."""
        self.command("ausrc", f"aufile,{path}")

    def command(self, name: str, params: str = "") -> str:
        """Gives one of baresip's commands. Returns its reply.

        Raises:
            AssertionError: it was refused.
        """
        message = json.dumps({"command": name, "params": params, "token": name}).encode()
        self._control.sendall(b"%d:%s," % (len(message), message))
        reply = self._next(self._replies, lambda reply: reply["token"] == name, STEP_LIMIT_S, f"to {name}")
        assert reply["ok"], f"{name} {params}: {reply}"
        return str(reply["data"])

    def until(self, kind: str, limit_s: float = STEP_LIMIT_S, **fields: str) -> Event:
        """Waits for an event of a kind, `CALL_ESTABLISHED` say, with these fields."""

        def wanted(event: Event) -> bool:
            return event["type"] == kind and all(event.get(name) == value for name, value in fields.items())

        return self._next(self.events, wanted, limit_s, f"of {kind} {fields or ''}")

    def heard(self) -> Audio:
        """What came in all its calls that have ended, one after the other, as 16 kHz."""
        self.command("listcalls")  # answered when whatever ended before has let go of its files
        return self._recorded("dec")

    def sip(self) -> str:
        """The messages that it sent and received, among what else it said."""
        return self.running.said()

    def _recorded(self, which: Literal["dec", "enc"]) -> Audio:
        parts = [
            read_audio(path, SPEECH_RATE_HZ)
            for path in sorted(self.folder.glob(f"dump-*-{which}.wav"))
            if path.stat().st_size > _WAV_HEADER_BYTES
        ]
        return concatenate(parts or [silence(0, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)

    def _next(self, came: list[Event], wanted: Any, limit_s: float, what: str) -> Event:
        deadline_s = time.monotonic() + limit_s
        while True:
            for at, event in enumerate(came):
                if wanted(event):
                    # What came before it is over: a later wait is for what comes later. Sound may be there
                    # before the call is established.
                    came[: at + 1] = [before for before in came[:at] if before.get("type") == _SOUND]
                    return event
            left_s = deadline_s - time.monotonic()
            seen = [(event.get("type"), event.get("param")) for event in came]
            assert left_s > 0, f"nothing {what}; there came {seen}; it said:\n{self.running.said()[-6000:]}"
            self._read(left_s)

    def _read(self, limit_s: float) -> None:
        self._control.settimeout(limit_s)
        try:
            read = self._control.recv(_RECV_BYTES)
        except TimeoutError:
            return
        assert read, f"baresip ended:\n{self.running.said()[-6000:]}"
        self._unread += read
        while (colon := self._unread.find(b":")) > 0:
            end = colon + 1 + int(self._unread[:colon])
            if len(self._unread) <= end:
                return
            message = json.loads(self._unread[colon + 1 : end])
            self._unread = self._unread[end + 1 :]
            (self.events if message.get("event") else self._replies).append(message)


def microphone(folder: Path, audio: Audio, then_silent_s: float = 90.0) -> Path:
    """What a phone speaks, at the rate that it takes. Silence follows: at a file's end, baresip stops."""
    path = folder / "microphone.wav"
    parts = [resample(audio, SPEECH_RATE_HZ), silence(then_silent_s, SPEECH_RATE_HZ)]
    write_wav(path, concatenate(parts, SPEECH_RATE_HZ))
    return path


@contextmanager
def baresip(
    folder: Path,
    speech: Path | None = None,
    *,
    codecs: tuple[Codec, ...] = ("PCMU",),
    user: str = "alice",
    answers: bool = True,
    transport: Transport = "udp",
    srtp: bool = False,
    registrar: Kamailio | None = None,
    account: str = "",
    certificate: Path | None = None,
    port: int | None = None,
) -> Iterator[Baresip]:
    """Starts a phone.

    Args:
        folder: for what it needs and writes.
        speech: what its microphone hears from the beginning of a call on, as `microphone` wrote it.
        codecs: that it knows, the one that it likes best first.
        user: in its address.
        answers: takes what rings by itself.
        transport: that its calls go by.
        srtp: takes no call whose media is not encrypted.
        registrar: where it registers and what its calls go through.
        account: more parameters of its account, each beginning with a semicolon.
        certificate: of its own, with the key, for TLS.
        port: where it listens; a free one by default.
    """
    path = program("baresip")
    if not MODULES.exists():
        pytest.skip(f"{path} is not Debian's: {MODULES} is not there")
    folder.mkdir(parents=True, exist_ok=True)
    port, control_port = port or free_sip_port(), free_sip_port()
    speech = speech or microphone(folder, silence(0.1, SPEECH_RATE_HZ))
    by = "" if transport == "udp" else transport
    if registrar is None:
        uri = f"sip:{user}@127.0.0.1:{port + 1 if by == 'tls' else port}{by and f';transport={by}'}"
        parameters = ";regint=0"
    else:
        uri = registrar.uri(user, by)
        parameters = f';regint=60;auth_pass={PASSWORD};outbound="{registrar.uri(user, by)}"'
    codec_list = ",".join(_SPECS[codec] for codec in codecs)
    parameters += f";audio_codecs={codec_list};answermode={'auto' if answers else 'manual'}"
    if srtp:
        parameters += ";mediaenc=srtp-mand"
    (folder / "accounts").write_text(f"<{uri}>{parameters}{account}\n")
    (folder / "contacts").write_text("")
    (folder / "config").write_text(_config(folder, port, control_port, speech, certificate))
    with (
        running([path, "-f", folder, "-s"], folder / "baresip.log") as process,
        _connected(process, control_port) as control,
    ):
        if registrar is not None:
            process.until_said(r" 200 OK .*\[\d+ bindings?\]")
        yield Baresip(uri, port, folder, process, control)


def _config(folder: Path, port: int, control_port: int, speech: Path, certificate: Path | None) -> str:
    media = free_media_ports()
    modules = ["opus", "g722", "g711", "aufile", "aubridge", "sndfile", "srtp"]
    lines = [
        f"sip_listen 127.0.0.1:{port}",
        *([f"sip_certificate {certificate}"] if certificate else []),
        "net_interface 127.0.0.1",
        f"rtp_ports {media[0]}-{media[-1]}",
        f"audio_source aufile,{speech}",
        f"audio_player aubridge,speaker{port}",
        f"audio_alert aubridge,bell{port}",
        f"ausrc_srate {SPEECH_RATE_HZ}",
        "ausrc_channels 1",
        "audio_buffer 20-160",
        f"module_path {MODULES}",
        *(f"module {name}.so" for name in modules),
        "module_tmp account.so",
        "module_app menu.so",
        "module_app ctrl_tcp.so",
        f"ctrl_tcp_listen 127.0.0.1:{control_port}",
        f"snd_path {folder}",
        "opus_bitrate 28000",
        "ringback_disabled yes",
        "statmode_default off",
        "call_max_calls 8",
    ]
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def _connected(process: Program, port: int) -> Iterator[socket.socket]:
    found: list[socket.socket] = []

    def connects() -> bool:
        try:
            found.append(socket.create_connection(("127.0.0.1", port), timeout=STEP_LIMIT_S))
        except OSError:
            return False
        return True

    process.until(connects, "baresip's control is not reached")
    with found[0] as control:
        yield control

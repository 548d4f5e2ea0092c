"""The ways into the server as a bench drives them: over each a synthetic caller says and hears the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol

from media.audio import Audio
from signaling.caller import Caller, CallerOptions, SetupTimes
from signaling.heard import HeardFrame
from signaling.hearing import ReceivedEvent
from signaling.sip_caller import SipCaller
from signaling.socket_caller import RealtimeDialect, SocketCaller, SocketCallerOptions, WsDialect

Transport = Literal["webrtc", "realtime", "ws", "sip"]


class SpokenCall(Protocol):
    """A call that stands, at the caller's end of it: `signaling.caller.Caller` and its like.

    Attributes:
        setup: how long it took to stand.
        events: all that came, in order.
    """

    setup: SetupTimes | None
    events: list[ReceivedEvent]

    async def say(self, audio: Audio) -> float:
        """Says it. Returns the loop time at which the last sample of its speech left."""

    def first_audible(self, after_s: float) -> HeardFrame | None:
        """The first frame after a loop time that somebody would notice, or None so far."""

    async def next_audible(self, after_s: float) -> HeardFrame:
        """Waits for it."""


Call = Callable[[], AbstractAsyncContextManager[SpokenCall]]


def _webrtc(url: str) -> Caller:
    return Caller(url, CallerOptions(session={"greeting": ""}))


def _realtime(url: str) -> SocketCaller:
    return SocketCaller(url, dialect=RealtimeDialect())


def _ws(url: str) -> SocketCaller:
    return SocketCaller(url, SocketCallerOptions(session={"greeting": ""}), WsDialect())


def _sip(uri: str) -> SipCaller:
    return SipCaller(uri)


OPENERS: Final[Mapping[Transport, Callable[[str], AbstractAsyncContextManager[SpokenCall]]]] = {
    "webrtc": _webrtc,
    "realtime": _realtime,
    "ws": _ws,
    "sip": _sip,
}
"""A call over each, to a server's address (for `sip`, a SIP one), in which nobody is greeted: how telephones
are is the server's configuration."""


def stages_told(events: Sequence[ReceivedEvent]) -> dict[str, float]:
    """Where the last turn's time went, in ms by the stage's name, as the server told it."""
    stages: dict[str, float] = {}
    for received in events:
        if received.type in ("vk.turn.latency", "latency"):
            stages = {stage["name"]: stage["duration_ms"] for stage in received.event["stages"]}
    return stages


def transcript_told(events: Sequence[ReceivedEvent]) -> str:
    """What the server heard of the caller, turn after turn."""
    turns: list[str] = []
    for received in events:
        if received.type == "conversation.item.input_audio_transcription.completed":
            turns.append(received.event["transcript"])
        if received.type == "transcription" and received.event["final"]:
            turns.append(received.event["text"])
    return " ".join(turns).strip()

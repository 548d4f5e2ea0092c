"""Calls over each provider's wire in virtual time, real conversations on scripted engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from media.items import Message
from signaling.call_host import CallConversation
from signaling.streams.audiosocket_frames import AudioSocketWire
from signaling.streams.chan_websocket_messages import ChanWebSocketWire
from signaling.streams.leg import Transfer
from signaling.streams.opening import carry
from signaling.streams.plivo_messages import PlivoWire
from signaling.streams.telnyx_messages import TelnyxWire
from signaling.streams.twilio_messages import TwilioWire
from signaling.streams.wire import Wire
from tests.scripted import ScriptedEngines
from tests.signaling.phone import phone_calls
from tests.signaling.phone.phone_calls import Exchange
from tests.signaling.streams.far_sides import (
    AudioSocketSide,
    ChanWebSocketSide,
    FarSide,
    PlivoSide,
    TelnyxSide,
    TwilioSide,
    memory_line,
)

DELAY_S = 0.03
"""Of the network, each way."""
AHEAD_S = 0.1


def plain_chan(**options: Any) -> FarSide:
    side = ChanWebSocketSide(**options)
    side.speaks_json = False
    return side


def slin16_chan(**options: Any) -> FarSide:
    side = ChanWebSocketSide(sound="little", rate_hz=16_000, **options)
    side.format = "slin16"
    return side


def l16_telnyx(**options: Any) -> FarSide:
    side = TelnyxSide(sound="big", rate_hz=16_000, **options)
    side.encoding = "L16"
    return side


def alaw_telnyx(**options: Any) -> FarSide:
    side = TelnyxSide(sound="a", **options)
    side.encoding = "PCMA"
    return side


@dataclass(frozen=True)
class Provider:
    """How a far side is made, and its wire here."""

    name: str
    side: Callable[..., FarSide]
    wire: Callable[[], Wire]
    clears: bool = True


PROVIDERS = [
    Provider("twilio", TwilioSide, TwilioWire),
    Provider("telnyx", TelnyxSide, TelnyxWire),
    Provider("telnyx-alaw", alaw_telnyx, TelnyxWire),
    Provider("telnyx-l16", l16_telnyx, lambda: TelnyxWire("l16-big")),
    Provider("plivo", PlivoSide, PlivoWire),
    Provider("plivo-l16", lambda **options: PlivoSide(sound="little", rate_hz=16_000, **options), PlivoWire),
    Provider("chan_websocket-json", ChanWebSocketSide, lambda: ChanWebSocketWire({"caller": "+4930"})),
    Provider("chan_websocket-text", plain_chan, lambda: ChanWebSocketWire({})),
    Provider("chan_websocket-slin16", slin16_chan, lambda: ChanWebSocketWire({})),
    Provider(
        "audiosocket",
        lambda **options: AudioSocketSide(sound="little", **options),
        AudioSocketWire,
        clears=False,
    ),
    Provider(
        "audiosocket-24k",
        lambda **options: AudioSocketSide(sound="little", rate_hz=24_000, **options),
        AudioSocketWire,
        clears=False,
    ),
]
CLEARING = [provider for provider in PROVIDERS if provider.clears]


def named(provider: Provider) -> str:
    return provider.name


@dataclass
class StreamCall:
    """One call, seen from both sides."""

    exchanged: Exchange
    far: FarSide

    @property
    def engines(self) -> ScriptedEngines:
        return self.exchanged.engines

    @property
    def call_id(self) -> str:
        (call_id,) = self.exchanged.calls._calls
        return call_id

    @property
    def conversation(self) -> CallConversation:
        return self.exchanged.calls.session(self.call_id).conversation

    def said(self, role: str) -> list[Message]:
        items = self.conversation.items
        return [item for item in items if isinstance(item, Message) and item.role == role]

    @property
    def taken(self) -> bool:
        """Whether the call goes on."""
        return len(self.exchanged.calls) == 1


Test = Callable[[StreamCall], Coroutine[Any, Any, None]]


def run(
    provider: Provider,
    test: Test,
    engines: ScriptedEngines | None = None,
    *,
    side: dict[str, Any] | None = None,
    transfer: Callable[[str], Transfer] | None = None,
    **sections: Any,
) -> None:
    """Runs a test on a call that has begun. The far side leaves when it is over."""

    async def main(exchanged: Exchange) -> None:
        ours, theirs = memory_line(DELAY_S)
        far = provider.side(**(side or {}))
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(
                carry(ours, provider.wire(), exchanged.starter, ahead_s=AHEAD_S, transfer=transfer)
            )
            talking = tasks.create_task(far.run(theirs))
            call = StreamCall(exchanged, far)
            await far.until(lambda: far.sent_frames > 5 and call.taken)
            await test(call)
            far.ended.set()
            await talking
            await theirs.close()
            await carrying

    wanted = {"telephone": {"greeting_delay_s": 0}, "interruption": {"classify": False}}
    phone_calls.run(main, engines, **{**wanted, **sections})

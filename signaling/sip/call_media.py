"""What a SIP call needs of its media: `signaling.rtp.media.RtpMedia`, as signalling sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from signaling.call_host import VoiceOut
from signaling.phone.leg import LegFigures, PhoneEar
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.hop import Hop


class CallMedia(Protocol):
    """One call's audio; documented there."""

    @property
    def figures(self) -> LegFigures: ...

    @property
    def sends_digits(self) -> bool: ...

    def offer(self, *, anew: bool = False) -> str: ...

    def answer(self, offer_sdp: str) -> str: ...

    def accept(self, answer_sdp: str) -> None: ...

    def withdraw(self) -> None: ...

    def hold(self, held: bool) -> None: ...

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str: ...

    async def send_digits(self, digits: str) -> None: ...


OpenMedia: TypeAlias = Callable[[str, str | None, str], AbstractAsyncContextManager[CallMedia]]
"""Makes a call's media, given this machine's address that leads to the far side, what that reaches it by
if it is another, and the far side's. Entering raises `ServerFull` where no port is free."""


def media_addresses(endpoint: SipEndpoint, hop: Hop) -> tuple[str, str | None, str]:
    """This machine's that leads to the far side, what that reaches it by, if it is another, and its own."""
    local = endpoint.local_ip(hop)
    reached = endpoint.contact(hop).host.strip("[]")
    return local, None if reached == local else reached, hop.ip

"""A SIP call as the conversation's side sees it: `signaling.phone.leg.PhoneLeg`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from media.audio import Audio
from media.clock import loop_time_s
from media.errors import ToolError
from signaling.call_host import VoiceOut
from signaling.phone.leg import Ability, LegFigures, Party, PhoneEar
from signaling.sip.call_media import CallMedia
from signaling.sip.double_keys import DoubleKeys, Way
from signaling.sip.invite_usage import InviteUsage

_TAKEN_LIMIT_S: Final = 10.0
"""An answered call that no conversation takes over by then is ended."""


class SipLeg:
    """An answered SIP call.

    The user agent owns the call itself: its dialog, its ports, its BYE. The leg is the hold that the
    conversation has on it.

    Args:
        party: who is on the line.
        usage: the call's dialog.
        media: the call's audio, negotiated.
    """

    def __init__(self, party: Party, usage: InviteUsage, media: CallMedia) -> None:
        self.party = party
        self._usage = usage
        self._media = media
        self._taken = False
        self._left = asyncio.Event()

    @property
    def abilities(self) -> frozenset[Ability]:
        """Transfers always (the far side may refuse them), keys where it understands them in RTP."""
        return frozenset({"transfer", "digits"} if self._media.sends_digits else {"transfer"})

    @property
    def figures(self) -> LegFigures:
        return self._media.figures

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        """Carries the call until either side ends it; says why."""
        self._taken = True
        keys = DoubleKeys()
        self._usage.listen(partial(_press, ear, keys, "info"))
        try:
            if not self._usage.over:
                async with asyncio.TaskGroup() as tasks:
                    carrying = tasks.create_task(self._carry(_Ear(ear, keys), voice), name="SIP call's media")
                    await self._usage.ended()
                    carrying.cancel()
        finally:
            self._usage.end("hung up")
            self._left.set()
        return self._usage.why

    async def carried(self) -> None:
        """Returns when the call has ended, and its media is used no more. Somebody must run it soon."""
        loop = asyncio.get_running_loop()
        watch = loop.call_later(_TAKEN_LIMIT_S, self._end_if_forgotten)
        try:
            await self._usage.ended()
            if self._taken:
                await self._left.wait()
        finally:
            watch.cancel()

    async def _carry(self, ear: PhoneEar, voice: VoiceOut) -> None:
        self._usage.end(await self._media.run(ear, voice))

    def _end_if_forgotten(self) -> None:
        if not self._taken:
            self._usage.end("no conversation took it over")

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice."""
        self._usage.end("hung up")

    async def hold(self, held: bool) -> None:
        """Puts the far side on hold, or takes it back.

        Raises:
            OfferRefused: the far side will not have it.
            DialogGone: the call is over.
        """
        await self._usage.hold(held)

    async def send_digits(self, digits: str) -> None:
        """Presses keys. Raises: ToolError."""
        if self._usage.over:
            raise ToolError("The call is over.")
        await self._media.send_digits(digits)

    async def transfer(self, target: str) -> None:
        """A blind transfer; returns when the target was reached. Raises: ToolError."""
        await self._usage.refer(target)


class _Ear:
    """Hands on what RTP brings, but for the keys that INFO brought."""

    def __init__(self, ear: PhoneEar, keys: DoubleKeys) -> None:
        self._ear = ear
        self._keys = keys

    @property
    def lacking_samples(self) -> int:
        return self._ear.lacking_samples

    def hear(self, audio: Audio) -> None:
        self._ear.hear(audio)

    def digit(self, digit: str) -> None:
        _press(self._ear, self._keys, "rtp", digit)


def _press(ear: PhoneEar, keys: DoubleKeys, way: Way, key: str) -> None:
    if keys.is_new(way, key, loop_time_s()):
        ear.digit(key)

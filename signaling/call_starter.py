"""Starts a WebRTC call for an offer, however that came here."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from media.session import SessionConfig
from signaling.call_host import CallHost
from signaling.client_secrets import ClientSecret
from signaling.ice import Gathering
from signaling.realtime_session import RealtimeSession
from signaling.realtime_session_objects import SessionUpdate
from signaling.running_calls import RunningCalls
from signaling.sdp import Offer
from signaling.webrtc_call import WebrtcCall

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartedCall:
    """A call whose offer was answered.

    Attributes:
        call_id: `rtc_…`
        answer: SDP, with every candidate of this side in it.
        call: listed among the running ones until it ends.
    """

    call_id: str
    answer: str
    call: WebrtcCall


class CallStarter:
    """Takes a slot, answers the offer, and leaves the call to the server.

    Args:
        host: the server.
        calls: where the call is listed while it goes on.
        gathering: where this side can be reached.
    """

    def __init__(self, host: CallHost, calls: RunningCalls, gathering: Gathering) -> None:
        self._host = host
        self._calls = calls
        self._gathering = gathering

    async def start(
        self,
        offer: Offer,
        update: SessionUpdate | None = None,
        defaults: SessionConfig | None = None,
        secret: ClientSecret | None = None,
    ) -> StartedCall:
        """Answers the offer and starts its call.

        Args:
            offer: checked already, so that nonsense costs no caller their place.
            update: the settings that came with the offer.
            defaults: what they change; None takes the server's.
            secret: the client secret that the call begins with, if any.

        Raises:
            CallerError: the offer cannot be answered, or the session cannot be. The slot is free again.
            ServerFull: no slot, or no UDP port, is free.
        """
        async with AsyncExitStack() as undo:
            slot = self._host.admit()
            undo.callback(slot.release)
            session = defaults or self._host.session_defaults()
            call = WebrtcCall(
                slot.call_id,
                offer,
                self._host.settings.ice,
                self._gathering,
                self._host.settings.opus,
                lambda send, speaks: RealtimeSession(session, update, slot.conversation, send, speaks=speaks),
            )
            undo.push_async_callback(call.abandon)
            answer = await call.answer()
            undo.pop_all()
        self._calls.start(slot, call, call.session, secret)
        log.info("call answered", extra={"audio": offer.audio, "data_channel": offer.data_channel})
        return StartedCall(slot.call_id, answer, call)

"""One WebRTC call: the only place on the server that holds a peer connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from media.errors import CallerError
from media.opus import OpusSettings, opus_encoder
from signaling.caller_voice import CallerVoice
from signaling.data_channel_loss import make_up_for_loss
from signaling.data_channel_text import take_any_text
from signaling.event_channel import EventChannel
from signaling.ice import CHECK_INTERVAL_S, Gathering, free_sockets, gathered_as
from signaling.outbound_track import OutboundTrack
from signaling.peer_signals import ChannelClosed, ChannelOpened, Link, LinkChanged, MessageCame, PeerSignals
from signaling.realtime_session import RealtimeSession
from signaling.rtp_out import can_send_packets, send_packets
from signaling.sdp import Offer, TrickledCandidate, finish_answer, parse_candidate
from signaling.settings import IceSettings

CLOSE_TIMEOUT_S = 3.0
"""A peer connection that takes longer to close has hung. Its sockets are then taken from it."""

# What aiortc raises on an offer that it cannot take, once the checks of `sdp` are passed.
_NEGOTIATION_FAULTS = (
    ValueError,
    AssertionError,
    AttributeError,
    InternalError,
    InvalidAccessError,
    InvalidStateError,
    OperationError,
)

log = logging.getLogger(__name__)


class WebrtcCall:
    """A call from its offer to its end.

    First `answer`, then `run`, both once. The conversation begins when the connection stands, so that its
    greeting is heard whole.

    Args:
        call_id: for logs and task names.
        offer: what the caller wants.
        ice: servers and time limits.
        gathering: where this side can be reached.
        opus: how the voice is encoded.
        open_session: makes the call's session, given how it sends to the client and whether it is heard.

    Raises:
        CallerError: the session cannot be.
    """

    def __init__(
        self,
        call_id: str,
        offer: Offer,
        ice: IceSettings,
        gathering: Gathering,
        opus: OpusSettings,
        open_session: Callable[[Callable[[str], None], bool], RealtimeSession],
    ) -> None:
        self.call_id = call_id
        self._offer = offer
        self._ice = ice
        self._gathering = gathering
        self._opus = opus
        self._events = EventChannel(offer.data_channel, self.hang_up)
        self._session = open_session(self._events.send, offer.caller_listens)
        self._peer = RTCPeerConnection(_configuration(ice))
        self._signals = PeerSignals(self._peer, self.hang_up)
        self._voice: CallerVoice | None = None
        self._link = Link.CONNECTING
        self._why = "never connected"
        self._link_changed = asyncio.Event()
        self._channel_opened = asyncio.Event()
        self._begun = asyncio.Event()

    @property
    def session(self) -> RealtimeSession:
        """What clients that join the call take part in."""
        return self._session

    async def answer(self) -> str:
        """Negotiates. Returns the answer's SDP, with every local candidate in it.

        Raises:
            CallerError: `invalid_sdp`: the offer cannot be taken. `abandon` is then still to be called.
            ServerFull: no UDP port is left for the call. Likewise.
        """
        try:
            with gathered_as(self._gathering):
                return await self._negotiate()
        except _NEGOTIATION_FAULTS as error:
            raise CallerError(
                f"The offer cannot be answered: {error}", code="invalid_sdp", param="sdp"
            ) from error

    async def run(self) -> None:
        """The call, until either side ends it. Frees all that it holds, whatever happens."""
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = [
                    tasks.create_task(self._read_signals(), name=f"{self.call_id} signals"),
                    tasks.create_task(self._hear_caller(), name=f"{self.call_id} ear"),
                ]
                if await self._connected():
                    conversation = tasks.create_task(
                        self._session.conversation.run(), name=f"{self.call_id} conversation"
                    )
                    # From its first step on it takes wishes; one may have come with the channel's opening.
                    await asyncio.sleep(0)
                    self._begun.set()
                    await asyncio.wait({conversation})
                for task in listening:
                    task.cancel()
        finally:
            log.info("connection ended", extra={"why": self._why})
            await self.abandon()

    async def abandon(self) -> None:
        """Closes everything within a bounded time. `run` does so itself; without it, this must be called."""
        self._session.conversation.close()
        if self._voice is not None:
            self._voice.close()
        transports = self._transports()
        checking = any(transport.transport.state == "checking" for transport in transports)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._peer.close()
        except TimeoutError:
            log.warning("the connection did not close; taking its sockets")
            for transport in transports:
                await free_sockets(transport.transport, CLOSE_TIMEOUT_S)
        if checking:
            # aioice's search sleeps between two checks and sees only then that it was closed: its task would
            # outlive the call.
            await asyncio.sleep(2 * CHECK_INTERVAL_S)

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice, and before it is connected."""
        self._change_link(Link.ENDED, "hung up")

    def stop(self) -> None:
        """Ends the call soon, since the server stops. Likewise."""
        self._change_link(Link.ENDED, "the server stops")

    async def add_candidate(self, candidate: TrickledCandidate) -> None:
        """One more way to reach the caller.

        Raises:
            CallerError: `invalid_candidate`.
        """
        parsed = parse_candidate(candidate.line, self._offer.first_mid)
        if parsed is None or self._link is not Link.CONNECTING:
            return
        await self._peer.addIceCandidate(parsed)

    # Setting up

    async def _negotiate(self) -> str:
        peer = self._peer
        await peer.setRemoteDescription(RTCSessionDescription(self._offer.sdp, "offer"))
        audio = None
        for transceiver in peer.getTransceivers():
            if transceiver.kind == "audio" and audio is None:
                audio = transceiver
            else:
                transceiver.direction = "inactive"
        if audio is not None and self._offer.caller_listens:
            track = OutboundTrack(self._session.conversation.playout, opus_encoder(self._opus))
            sender = peer.addTrack(track)
            if can_send_packets(sender):
                send_packets(sender, track)
            else:
                log.warning("this aiortc is not the one that was tested: voices cost more to send")
        if audio is not None and self._offer.caller_speaks:
            conversation = self._session.conversation
            self._voice = CallerVoice(audio.receiver, conversation.hear, lambda: conversation.lacking_samples)
        for transport in self._transports():
            self._signals.watch(transport)
        if peer.sctp is not None:
            take_any_text(peer.sctp)
            make_up_for_loss(peer.sctp)
        await peer.setLocalDescription()
        return finish_answer(peer.localDescription.sdp)

    def _transports(self) -> set[RTCDtlsTransport]:
        transports = {transceiver.receiver.transport for transceiver in self._peer.getTransceivers()}
        if self._peer.sctp is not None:
            transports.add(self._peer.sctp.transport)
        return transports

    async def _connected(self) -> bool:
        """Waits for the connection, then (not as long) for the data channel if one was offered."""
        try:
            async with asyncio.timeout(self._ice.connect_timeout_s):
                await self._link_changed.wait()
        except TimeoutError:
            return False
        if self._offer.data_channel:
            try:
                async with asyncio.timeout(self._ice.data_channel_wait_s):
                    await self._channel_opened.wait()
            except TimeoutError:
                log.warning("the data channel did not open")
        return self._link is Link.CONNECTED

    # While it runs

    async def _read_signals(self) -> None:
        while True:
            signal = await self._signals.queue.get()
            match signal:
                case LinkChanged():
                    self._change_link(signal.link, signal.why)
                case ChannelOpened():
                    if not self._events.is_open:
                        self._events.open(signal.channel, self._session.open)
                        self._channel_opened.set()
                case MessageCame():
                    await self._begun.wait()
                    self._session.receive(signal.text)
                case ChannelClosed():
                    if self._offer.audio is None:
                        self._change_link(Link.ENDED, "data channel closed")
                case _:
                    assert_never(signal)

    def _change_link(self, link: Link, why: str) -> None:
        if self._link is Link.ENDED:
            return
        self._link, self._why = link, why
        self._link_changed.set()
        if link is Link.ENDED:
            self._channel_opened.set()
            self._session.conversation.close()

    async def _hear_caller(self) -> None:
        if self._voice is not None:
            await self._voice.run()


def _configuration(ice: IceSettings) -> RTCConfiguration:
    # The list is given even when it is empty: None would mean a public STUN server.
    servers = [
        RTCIceServer(
            urls=list(server.urls),
            username=server.username,
            credential=server.credential.get_secret_value() if server.credential else None,
        )
        for server in ice.servers
    ]
    return RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)

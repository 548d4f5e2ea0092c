"""A synthetic caller over real WebRTC: for the command line's `call`, the bench and the tests.

It is a client of the Realtime API. It does what a page does (offers, opens the data channel, sends a
microphone in real time), and notes when each packet and each event arrived, so that latency is known where it
counts: at the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from pydantic_core import from_json, to_json
from yarl import URL

from media.audio import Audio
from media.clock import loop_time_s
from media.errors import CallerError, VoxtralKokoroError
from media.opus import RTP_RATE_HZ
from signaling.data_channel_loss import make_up_for_loss
from signaling.event_channel import LABEL
from signaling.heard import recording
from signaling.hearing import CallFailed, Event, Hearing, ReceivedEvent, connecting
from signaling.ice import abort_sockets, free_sockets, loopback_gathered
from signaling.microphone import Microphone
from signaling.microphone_track import MicrophoneTrack
from signaling.rtp_in import take_packets
from signaling.rtp_tap import OpusTap

AudioDirection = Literal["sendrecv", "sendonly", "recvonly", "none"]
EXTRAS = ("vk.turn.latency", "vk.heard_text")
"""What the caller asks its session to include."""
CLOSE_TIMEOUT_S = 3.0
_CALLS_PATH = "v1/realtime/calls"


class CallRefused(VoxtralKokoroError):
    """The server did not take the call. `status` is HTTP's; `code` the error's.

    Args:
        status: of the answer.
        answer: its JSON: problem details (RFC 9457), or the Realtime API's `error`.
    """

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        error = answer.get("error")
        fields = error if isinstance(error, dict) else answer
        sentence = fields.get("message", fields.get("detail", f"HTTP {status}"))
        super().__init__(str(sentence), code=str(fields.get("code", "http_error")))
        self.status = status


@dataclass(frozen=True, slots=True)
class SetupTimes:
    """How long the call took to stand, in seconds from when the offer was begun.

    Attributes:
        answered_s: until the answer was there.
        connected_s: until ICE and DTLS were done.
        channel_s: until the data channel was open; None without one.
    """

    answered_s: float
    connected_s: float
    channel_s: float | None


@dataclass(frozen=True, slots=True)
class CallerOptions:
    """How the caller calls.

    Attributes:
        session: settings of the call, as in `session.update`. Nothing greets the caller but its `greeting`.
        audio: the caller's direction; `none` for a call of text alone.
        data_channel: whether it opens one.
        ice_servers: URLs of STUN servers; None takes the server's own list, as a page does.
        connect_timeout_s: for all of the setup.
        verify_tls: False accepts a certificate that the server made for itself.
        names_candidates: whether the offer says where the caller is. If not, its checks tell the server.
        key: one of the server's, where it asks for one.
    """

    session: Mapping[str, Any] = field(default_factory=dict)
    audio: AudioDirection = "sendrecv"
    data_channel: bool = True
    ice_servers: tuple[str, ...] | None = None
    connect_timeout_s: float = 20.0
    verify_tls: bool = True
    names_candidates: bool = True
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server answered to a request."""

    headers: Mapping[str, str]
    body: bytes

    def object(self) -> dict[str, Any] | None:
        """Its JSON object, if it is one."""
        try:
            found = from_json(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


class Caller:
    """A call, as an async context manager: within it the call stands.

    Args:
        base_url: of the server: `http://127.0.0.1:8000`, or a folder of a site that passes it on.

    Raises:
        CallerError: `invalid_url`.

    Raises (on entering):
        CallRefused: the server said no.
        CallFailed: it could not be reached, or nothing connected in time.
    """

    def __init__(self, base_url: str, options: CallerOptions | None = None) -> None:
        self._server = server_url(base_url)
        self._options = options or CallerOptions()
        microphone = self._microphone = Microphone()
        hearing = self._hearing = Hearing()
        self._ear = OpusTap(hearing.sound_came)
        self._connected = asyncio.Event()
        self._channel_open = asyncio.Event()
        self._peer: RTCPeerConnection | None = None
        self._channel: RTCDataChannel | None = None
        self._http: aiohttp.ClientSession | None = None
        self.call_id = ""
        self.answer_sdp = ""
        self.setup: SetupTimes | None = None
        self.say = microphone.say
        """Raises: CallFailed: the call ended before."""
        self.speak_in = microphone.speak_in
        self.hush = microphone.hush
        self.ended = hearing.ended
        """Set when the server has ended the call, or the connection is lost."""
        self.events = hearing.events
        """All that came, in order."""
        self.heard = hearing.frames
        """Every packet's sound, in the order of arrival. The server sends none while it is silent."""
        self.more_heard = hearing.more
        """Set with every packet that has sound; whoever waits for more clears it."""
        self.next_event = hearing.next_event
        self.first_audible = hearing.first_audible
        self.next_audible = hearing.next_audible

    async def __aenter__(self) -> Self:
        async with connecting(self._options.connect_timeout_s, self._close):
            await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._hang_up()
        await self._close()

    # Speaking

    def send_event(self, event: Event) -> None:
        """Sends a client event.

        Raises:
            CallFailed: there is no open data channel.
        """
        if self._channel is None or self._channel.readyState != "open":
            raise CallFailed("The call has no open data channel.")
        self._channel.send(to_json(event).decode())

    def type_text(self, text: str) -> None:
        """Says it in writing, and asks for an answer."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.send_event({"type": "conversation.item.create", "item": item})
        self.send_event({"type": "response.create"})

    # Hearing

    @property
    def packets_heard(self) -> int:
        """How many packets came, those without sound included."""
        return self._ear.packets

    def recording(self) -> Audio:
        """All that was heard so far, 48 kHz, silence where no packet came."""
        return recording(self.heard, RTP_RATE_HZ)

    async def leave(self) -> None:
        """Is gone with a goodbye on the connection alone, as when a page is closed."""
        await self._close()

    async def vanish(self) -> None:
        """Is gone without a word, as when a laptop's lid closes: no goodbye, and nothing answers any more."""
        if self._peer is not None:
            for transport in _transports(self._peer):
                abort_sockets(transport.transport)

    # The call

    async def _connect(self) -> None:
        # A certificate that the server made for itself is known to nobody.
        connector = aiohttp.TCPConnector(ssl=self._options.verify_tls)
        key = self._options.key
        headers = {"Authorization": f"Bearer {key}"} if key is not None else None
        self._http = aiohttp.ClientSession(connector=connector, headers=headers)
        ice_servers = await self._ice_servers()
        begun_s = loop_time_s()
        peer = self._peer = RTCPeerConnection(
            RTCConfiguration(iceServers=ice_servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        peer.on("connectionstatechange", self._connection_changed)
        self._add_media(peer)
        with loopback_gathered(True):
            await peer.setLocalDescription()
        await self._post_offer(peer.localDescription.sdp)
        answered_s = loop_time_s()
        await peer.setRemoteDescription(RTCSessionDescription(self.answer_sdp, "answer"))
        for transport in _transports(peer):
            transport.on("statechange", lambda transport=transport: self._transport_changed(transport.state))
        await self._connected.wait()
        connected_s = loop_time_s()
        channel_s = None
        if self._channel is not None:
            await self._channel_open.wait()
            channel_s = loop_time_s() - begun_s
        if self.ended.is_set():
            raise CallFailed("The connection failed while it was set up.")
        self.setup = SetupTimes(answered_s - begun_s, connected_s - begun_s, channel_s)

    def _add_media(self, peer: RTCPeerConnection) -> None:
        direction = self._options.audio
        if direction != "none":
            speaks = direction in ("sendrecv", "sendonly")
            track = MicrophoneTrack(self._microphone) if speaks else "audio"
            transceiver = peer.addTransceiver(track, direction=direction)
            take_packets(transceiver.receiver, self._ear)
        if self._options.data_channel:
            self._channel = peer.createDataChannel(LABEL)
            make_up_for_loss(self._channel.transport)
            self._channel.on("open", self._channel_open.set)
            self._channel.on("message", self._event_came)

    async def _ice_servers(self) -> list[RTCIceServer]:
        if self._options.ice_servers is not None:
            return [RTCIceServer(urls=url) for url in self._options.ice_servers]
        config = self._object(await self._request("GET", "api/config"))
        return [
            RTCIceServer(
                urls=server["urls"], username=server.get("username"), credential=server.get("credential")
            )
            for server in config.get("ice_servers", ())
        ]

    async def _post_offer(self, sdp: str) -> None:
        if not self._options.names_candidates:
            lines = sdp.splitlines(keepends=True)
            sdp = "".join(line for line in lines if not line.startswith("a=candidate:"))
        session = {"include": list(EXTRAS), **self._options.session}
        offer = {"sdp": sdp, "session": to_json(session).decode()}
        form = aiohttp.FormData(offer, default_to_multipart=True)
        answer = await self._request("POST", _CALLS_PATH, data=form)
        call_id = answer.headers.get("Location", "").rpartition("/")[2]
        if not call_id:
            raise self._stranger()
        self.call_id, self.answer_sdp = call_id, answer.body.decode(errors="replace")

    async def _request(self, method: str, path: str, **body: Any) -> _Answer:
        """A request to the server, and what it answered.

        Raises:
            CallRefused: it said no.
            aiohttp.ClientError: it cannot be reached.
        """
        assert self._http is not None
        async with self._http.request(method, self._server / path, **body) as response:
            answer = _Answer(response.headers, await response.read())
            if response.status >= 400:
                raise CallRefused(response.status, answer.object() or {})
            return answer

    def _object(self, answer: _Answer) -> dict[str, Any]:
        """An answer that is a JSON object. Raises: CallFailed, where it is somebody else who answers."""
        found = answer.object()
        if found is None:
            raise self._stranger()
        return found

    def _stranger(self) -> CallFailed:
        return CallFailed(f"What answers at {self._server} is not this kind of server.")

    async def _hang_up(self) -> None:
        """Says goodbye; one that cannot be said does no harm."""
        if self._http is None or not self.call_id:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._request("POST", f"{_CALLS_PATH}/{self.call_id}/hangup")
        except (TimeoutError, CallRefused, aiohttp.ClientError):
            return

    async def _close(self) -> None:
        self._microphone.hush()
        if self._peer is not None:
            transports = _transports(self._peer)
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._peer.close()
            except TimeoutError:
                for transport in transports:
                    await free_sockets(transport.transport, CLOSE_TIMEOUT_S)
        if self._http is not None:
            await self._http.close()
            self._http = None

    # aiortc's callbacks

    def _connection_changed(self) -> None:
        state = self._peer.connectionState if self._peer else "closed"
        if state in ("failed", "closed"):
            self._note_end(state)
        if state == "connected":
            self._connected.set()

    def _transport_changed(self, state: str) -> None:
        if state in ("closed", "failed"):
            self._note_end(state)

    def _note_end(self, state: str) -> None:
        """Wakes whoever waits for what cannot come any more."""
        if self.ended.is_set():
            return
        self._hearing.end("The connection is lost." if state == "failed" else "The server ended the call.")
        self._connected.set()
        self._channel_open.set()
        self._microphone.fail(self._hearing.failure())

    def _event_came(self, message: str) -> None:
        self._hearing.event_came(ReceivedEvent(loop_time_s(), from_json(message)))


def server_url(text: str) -> URL:
    """A server's address. Raises: CallerError: `invalid_url`."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise CallerError(
            f"{text!r} is not a server's address: write it as http://127.0.0.1:8000.",
            code="invalid_url",
            param="url",
        )
    return url


def _transports(peer: RTCPeerConnection) -> set[RTCDtlsTransport]:
    transports = {transceiver.receiver.transport for transceiver in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport)
    return transports

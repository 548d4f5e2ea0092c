"""The WebSockets by which providers bring calls: who may open one, and what it speaks."""

from __future__ import annotations

import base64
import ipaddress
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import SecretStr

from media.errors import CallerError, ServerFull
from media.opus import OpusSettings
from signaling.guard import was_passed_on
from signaling.phone.leg import Switchboard
from signaling.streams.awaited import AwaitedStreams, Transfers
from signaling.streams.chan_websocket_messages import ChanWebSocketWire
from signaling.streams.opening import carry
from signaling.streams.plivo_messages import PlivoWire
from signaling.streams.settings import IpNetwork, StreamsSettings
from signaling.streams.signatures import is_secret, is_twilios
from signaling.streams.socket_routes import accepted
from signaling.streams.telnyx_messages import TelnyxWire
from signaling.streams.twilio_messages import TwilioWire
from signaling.streams.wire import Answered, Encoding, Wire

TWILIO_STREAM, TELNYX_STREAM = "/twilio/stream", "/telnyx/stream"
PLIVO_STREAM, ASTERISK_STREAM = "/plivo/stream", "/asterisk/stream"
TELNYX_TOKEN_HEADER: Final = "X-Telnyx-Streaming-Auth-Token"
MOST_STREAMS: Final = 1000
"""At a time, calls and those that are not calls yet."""
_RETRY_S: Final = 5

log = logging.getLogger(__name__)


def refused(carrier: str, why: str) -> CallerError:
    """Somebody who is not who they say they are, which is logged."""
    log.warning("a stranger was turned away", extra={"carrier": carrier, "why": why})
    return CallerError(f"This is not a request of {carrier}'s: {why}.", code="not_the_provider")


def is_within(address: str | None, networks: Iterable[IpNetwork]) -> bool:
    """Whether an address is of one of the networks."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in networks)


class StreamRoutes:
    """The handlers.

    Args:
        settings: of the streams.
        switchboard: takes the calls.
        awaited: calls whose webhook was answered here.
        transfers: where calls are handed on.
        opus: how Opus is encoded, where a stream has it.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        switchboard: Switchboard,
        awaited: AwaitedStreams,
        transfers: Transfers,
        opus: Callable[[], OpusSettings],
    ) -> None:
        self._settings = settings
        self._switchboard = switchboard
        self._awaited = awaited
        self._transfers = transfers
        self._opus = opus
        self._open = 0

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        """Signed as a whole: no query, no token."""
        auth_token = self._settings.twilio.auth_token
        assert auth_token is not None
        assert self._settings.public_origin is not None
        # The scheme of WebSockets goes with the origin's: http becomes ws, https becomes wss.
        url = f"{self._settings.public_origin.replace('http', 'ws', 1)}{request.raw_path}"
        signature = request.headers.get("X-Twilio-Signature", "")
        if not is_twilios(signature, url, (), auth_token.get_secret_value()):
            raise refused("twilio", "its signature is not right")
        return await self._carry(request, TwilioWire())

    async def telnyx(self, request: web.Request) -> web.StreamResponse:
        settings = self._settings.telnyx
        given = request.query.get("token", request.headers.get(TELNYX_TOKEN_HEADER, ""))
        answered = self._proven(given, settings.stream_token, "telnyx")
        l16: Encoding = "l16-little" if settings.l16_byte_order == "little" else "l16-big"
        return await self._carry(request, TelnyxWire(l16, answered))

    async def plivo(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "")
        answered = self._proven(given, self._settings.plivo.stream_token, "plivo")
        return await self._carry(request, PlivoWire(answered))

    async def chan_websocket(self, request: web.Request) -> web.StreamResponse:
        settings = self._settings.chan_websocket
        if settings.networks and not is_within(request.remote, settings.networks):
            raise refused("chan_websocket", "it comes from none of streams.chan_websocket.networks")
        if settings.password is None and was_passed_on(request):
            # From wherever: the network is the proxy's.
            raise refused("chan_websocket", "a proxy passed it on, and there is no password")
        if settings.password is not None and not _has_password(request, settings.password):
            raise refused("chan_websocket", "its password is not right")
        return await self._carry(request, ChanWebSocketWire(request.query))

    def _proven(self, given: str, token: SecretStr | None, carrier: str) -> Answered | None:
        """The call of a stream that comes with a token, where its webhook was answered here.

        Raises:
            CallerError: the token is none.
        """
        answered = self._awaited.redeem(given)
        if answered is None and (token is None or not is_secret(given, token.get_secret_value())):
            raise refused(carrier, "its token is not right")
        return answered

    async def _carry(self, request: web.Request, wire: Wire) -> web.StreamResponse:
        if self._open >= MOST_STREAMS:
            raise ServerFull("There are as many streams as there may be.", retry_after_s=_RETRY_S)
        self._open += 1
        try:
            response, socket = await accepted(request)
            await carry(
                socket,
                wire,
                self._switchboard,
                ahead_s=self._settings.ahead_ms / 1000,
                opus=self._opus(),
                kept=self._awaited.admission,
                transfer=lambda call_ref: partial(self._transfers.ask, call_ref),
            )
        finally:
            self._open -= 1
        return response


def _has_password(request: web.Request, password: SecretStr) -> bool:
    """HTTP's basic authentication (RFC 7617), whatever the user is called."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        return False
    return scheme.lower() == "basic" and is_secret(given.partition(":")[2], password.get_secret_value())

"""The webhooks by which providers ask what to do with a call: when it comes, when its stream has ended."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from media.clock import wall_time_s
from media.errors import CallerError, ServerFull
from signaling.phone.leg import Switchboard
from signaling.request_body import read_body
from signaling.streams.answers import CONTENT_TYPE, Dialect, busy, connected, dialled, hung_up
from signaling.streams.awaited import AwaitedStreams, Transfers
from signaling.streams.replays import AnsweredBefore
from signaling.streams.settings import StreamsSettings
from signaling.streams.signatures import is_plivos, is_telnyxs, is_twilios, plivo_signs, telnyx_signs
from signaling.streams.stream_routes import PLIVO_STREAM, TELNYX_STREAM, TWILIO_STREAM, refused
from signaling.streams.twilio_messages import CALLED, CALLER, DIRECTION, INBOUND, OUTBOUND
from signaling.streams.wire import Answered

TWILIO_VOICE, TWILIO_AFTER = "/twilio/voice", "/twilio/after"
TELNYX_VOICE, TELNYX_AFTER = "/telnyx/voice", "/telnyx/after"
PLIVO_VOICE, PLIVO_AFTER = "/plivo/voice", "/plivo/after"
MAX_FORM_BYTES: Final = 65_536
MAX_FIELDS: Final = 500
_FORM: Final = "application/x-www-form-urlencoded"
_STREAMS: Final = {"twilio": TWILIO_STREAM, "telnyx": TELNYX_STREAM, "plivo": PLIVO_STREAM}
_AFTER: Final = {"twilio": TWILIO_AFTER, "telnyx": TELNYX_AFTER, "plivo": PLIVO_AFTER}
_CALL: Final = {"twilio": "CallSid", "telnyx": "CallSid", "plivo": "CallUUID"}
"""How a call's name is called."""
_OVER: Final = frozenset({"completed", "busy", "failed", "timeout", "no-answer", "canceled"})
"""Of a call's states: nothing can be done with it any more."""

Form = dict[str, str]


class AnswerRoutes:
    """The handlers.

    Args:
        settings: of the streams.
        switchboard: has the slots.
        awaited: keeps them for the calls' streams.
        transfers: whom calls are handed on to.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        switchboard: Switchboard,
        awaited: AwaitedStreams,
        transfers: Transfers,
    ) -> None:
        self._settings = settings
        self._switchboard = switchboard
        self._awaited = awaited
        self._transfers = transfers
        self._answered_before = AnsweredBefore()

    async def twilio_voice(self, request: web.Request) -> web.Response:
        return self._answer("twilio", await self._twilios(request))

    async def twilio_after(self, request: web.Request) -> web.Response:
        return self._go_on("twilio", await self._twilios(request))

    async def telnyx_voice(self, request: web.Request) -> web.Response:
        return self._answer("telnyx", *await self._telnyxs(request))

    async def telnyx_after(self, request: web.Request) -> web.Response:
        return self._go_on("telnyx", (await self._telnyxs(request))[0])

    async def plivo_voice(self, request: web.Request) -> web.Response:
        return self._answer("plivo", *await self._plivos(request))

    async def plivo_after(self, request: web.Request) -> web.Response:
        return self._go_on("plivo", (await self._plivos(request))[0])

    # Whose it is

    async def _twilios(self, request: web.Request) -> Form:
        auth_token = self._settings.twilio.auth_token
        assert auth_token is not None
        fields = _fields(await read_body(request, _FORM, MAX_FORM_BYTES))
        given = request.headers.get("X-Twilio-Signature", "")
        if not is_twilios(given, self._url(request), fields, auth_token.get_secret_value()):
            raise refused("twilio", "its signature is not right")
        return dict(fields)

    async def _telnyxs(self, request: web.Request) -> tuple[Form, bytes]:
        """The form, and what was signed."""
        body = await read_body(request, _FORM, MAX_FORM_BYTES)
        given = request.headers.get("telnyx-signature-ed25519", "")
        timestamp = request.headers.get("telnyx-timestamp", "")
        signs = telnyx_signs(timestamp, body)
        if not is_telnyxs(given, timestamp, signs, self._settings.telnyx.public_key, wall_time_s()):
            raise refused("telnyx", "its signature is not right, or is not of today")
        return dict(_fields(body)), signs

    async def _plivos(self, request: web.Request) -> tuple[Form, bytes]:
        """Likewise."""
        auth_token = self._settings.plivo.auth_token
        assert auth_token is not None
        fields = _fields(await read_body(request, _FORM, MAX_FORM_BYTES))
        given = request.headers.get("X-Plivo-Signature-V3", "")
        nonce = request.headers.get("X-Plivo-Signature-V3-Nonce", "")
        signs = plivo_signs(nonce, self._url(request), fields)
        if not is_plivos(given, signs, auth_token.get_secret_value()):
            raise refused("plivo", "its signature is not right")
        return dict(fields), signs

    def _url(self, request: web.Request) -> str:
        """As the provider was told it, whatever proxies made of that."""
        return f"{self._settings.public_origin}{request.raw_path}"

    # What it is told

    def _answer(self, dialect: Dialect, form: Form, signed: bytes | None = None) -> web.Response:
        """The call comes.

        Args:
            dialect: whose XML.
            form: what was asked.
            signed: never the same twice; None where streams prove themselves whose they are.
        """
        answered = _answered(dialect, form)
        if form.get("CallStatus", "").lower() in _OVER:
            # Where nobody told it another address for that, Plivo says here, too, that a call has ended.
            self._let_go(answered.call_ref)
            return _xml(hung_up())
        replayed = signed is not None and self._answered_before.note(signed)
        # A provider that got no answer asks once more: the call has its slot.
        admission = self._awaited.admission(answered.call_ref)
        if admission is None:
            if replayed:
                raise refused(dialect, "it was answered before")
            try:
                admission = self._switchboard.admit()
            except ServerFull:
                return _xml(busy(dialect))
        token = self._awaited.expect(answered, admission, signed=dialect == "twilio")
        origin = self._settings.public_origin
        assert origin is not None
        stream_url = f"{origin.replace('http', 'ws', 1)}{_STREAMS[dialect]}"
        if dialect != "twilio":
            stream_url += f"?token={token}"
        parameters = {
            CALLER: answered.caller,
            CALLED: answered.called,
            DIRECTION: OUTBOUND if answered.outbound else INBOUND,
        }
        return _xml(connected(dialect, stream_url, f"{origin}{_AFTER[dialect]}", parameters))

    def _go_on(self, dialect: Dialect, form: Form) -> web.Response:
        """The call's stream has ended, or could not be opened."""
        call_ref = _answered(dialect, form).call_ref
        self._let_go(call_ref)
        target = self._transfers.target(call_ref)
        return _xml(hung_up() if target is None else dialled(dialect, target))

    def _let_go(self, call_ref: str) -> None:
        """No stream comes any more: the slot that is kept for one, if there is one, is free."""
        unused = self._awaited.admission(call_ref)
        if unused is not None:
            unused.release()


def _answered(dialect: Dialect, form: Form) -> Answered:
    """Raises: CallerError: the form names no call."""
    call_ref = form.get(_CALL[dialect], "")
    if not call_ref:
        raise CallerError("This names no call.", code="missing_field", param=_CALL[dialect])
    outbound = form.get("Direction", INBOUND).startswith(OUTBOUND)
    return Answered(call_ref[:512], form.get("From", "")[:512], form.get("To", "")[:512], outbound)


def _fields(body: bytes) -> list[tuple[str, str]]:
    """Raises: CallerError: it is no form."""
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise CallerError("The body is no form.", code="invalid_request") from None


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type=CONTENT_TYPE)

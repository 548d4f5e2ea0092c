"""A server whole, over real sockets: each provider's calls, and who is turned away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from pydantic import ValidationError
from twilio.request_validator import RequestValidator

from media.clock import wall_time_s
from media.errors import ConfigError
from signaling.streams.audiosocket import AudioSocketConnection, audiosocket_listening, prepare
from signaling.streams.audiosocket_frames import frame
from signaling.streams.settings import StreamsSettings
from tests.scripted import ScriptedEngines, ScriptedLlm, calls, quiet, speech
from tests.signaling.streams.far_sides import (
    AudioSocketSide,
    ChanWebSocketSide,
    FarSide,
    PlivoSide,
    TelnyxSide,
    TwilioSide,
    over_tcp,
    over_websocket,
)
from tests.signaling.streams.stream_server import AUTH_TOKEN, STREAM_TOKEN, StreamServer, run

ORIGIN = "https://voice.example.org"
KEY = "a-key-for-the-tests"
TELNYX_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TELNYX_PUBLIC_KEY = base64.b64encode(TELNYX_KEY.public_key().public_bytes_raw()).decode()
STREAMS = {
    "public_origin": ORIGIN,
    "twilio": {"auth_token": AUTH_TOKEN},
    "telnyx": {"public_key": TELNYX_PUBLIC_KEY, "stream_token": STREAM_TOKEN},
    "plivo": {"auth_token": AUTH_TOKEN, "stream_token": STREAM_TOKEN},
    "audiosocket": {"port": 0},
    "chan_websocket": {"networks": ["127.0.0.0/8"], "password": "a password"},
}
SERVER = {"port": 0, "health_port": 0, "drain_timeout_s": 0, "max_calls": 8, "api_keys": [KEY]}


def signed_by_twilio(
    path: str, form: dict[str, str] | None = None, *, stream: bool = False
) -> dict[str, str]:
    url = f"{ORIGIN.replace('https', 'wss') if stream else ORIGIN}{path}"
    return {"X-Twilio-Signature": RequestValidator(AUTH_TOKEN).compute_signature(url, form or {})}


def signed_by_plivo(path: str, form: dict[str, str]) -> dict[str, str]:
    text = construct_post_url(f"{ORIGIN}{path}", form).decode()
    signature = get_signature_v3(AUTH_TOKEN.encode(), text, b"12345").decode()
    return {"X-Plivo-Signature-V3": f"other,{signature}", "X-Plivo-Signature-V3-Nonce": "12345"}


def signed_by_telnyx(body: bytes, at_s: float | None = None) -> dict[str, str]:
    timestamp = str(int(wall_time_s() if at_s is None else at_s))
    signature = TELNYX_KEY.sign(timestamp.encode() + b"|" + body)
    return {
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        "telnyx-timestamp": timestamp,
        "Content-Type": "application/x-www-form-urlencoded",
    }


@dataclass
class Caller:
    """How one reaches the server."""

    name: str
    side: Callable[..., FarSide]
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def slin16(**options: Any) -> FarSide:
    side = ChanWebSocketSide(sound="little", rate_hz=16_000, **options)
    side.format = "slin16"
    return side


PASSWORD = {"Authorization": aiohttp.encode_basic_auth("asterisk", "a password")}
CALLERS = [
    Caller("twilio", TwilioSide, "/twilio/stream", signed_by_twilio("/twilio/stream", stream=True)),
    Caller("telnyx", TelnyxSide, f"/telnyx/stream?token={STREAM_TOKEN}"),
    Caller("plivo", PlivoSide, f"/plivo/stream?token={STREAM_TOKEN}"),
    Caller("chan_websocket", slin16, "/asterisk/stream?caller=%2B4930", PASSWORD),
    Caller("audiosocket", lambda: AudioSocketSide(sound="little", rate_hz=16_000)),
]


@asynccontextmanager
async def called(served: StreamServer, caller: Caller) -> AsyncIterator[FarSide]:
    side = caller.side()
    if not caller.path:
        port = served.server.telephone.audiosocket_port
        assert port is not None
        async with over_tcp(side, port):
            yield side
        return
    async with over_websocket(side, served.ws(caller.path), headers=caller.headers):
        yield side


def test_all_of_them_call_at_once_and_are_answered() -> None:
    async def test(served: StreamServer) -> None:
        async def call(caller: Caller) -> None:
            async with called(served, caller) as far:
                await far.until(lambda: far.sent_frames > 10)
                far.say(speech(0.8), quiet(0.1))
                await far.until(lambda: far.audible_s() > 1.4)
                await asyncio.sleep(0.3)
                # A busy machine tears a frame in two now and then.
                assert 1.4 < far.audible_s() < 1.9, caller.name
                await far.leave()

        async with asyncio.TaskGroup() as tasks:
            for caller in CALLERS:
                tasks.create_task(call(caller))
        await served.server.calls.until_nobody_calls()
        assert len(served.engines.llm.requests) == len(CALLERS)

    run(test, streams=STREAMS, server=SERVER)


async def handshake(served: StreamServer, path: str, **headers: str) -> int:
    """What it is refused with."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await http.ws_connect(served.ws(path), headers=headers)
    return refusal.value.status


def test_strangers_are_turned_away() -> None:
    async def test(served: StreamServer) -> None:
        assert await handshake(served, "/twilio/stream") == 403
        assert await handshake(served, "/twilio/stream", **{"X-Twilio-Signature": "nonsense"}) == 403
        # A signature for another address, or of another account.
        other = signed_by_twilio("/twilio/voice", stream=True)
        assert await handshake(served, "/twilio/stream", **other) == 403
        url = f"{ORIGIN.replace('https', 'wss')}/twilio/stream"
        foreign = RequestValidator("another account's").compute_signature(url, {})
        assert await handshake(served, "/twilio/stream", **{"X-Twilio-Signature": foreign}) == 403
        for carrier in ("telnyx", "plivo"):
            assert await handshake(served, f"/{carrier}/stream") == 403
            assert await handshake(served, f"/{carrier}/stream?token={STREAM_TOKEN}x") == 403
        assert await handshake(served, "/asterisk/stream") == 403
        wrong = aiohttp.encode_basic_auth("asterisk", "another")
        assert await handshake(served, "/asterisk/stream", Authorization=wrong) == 403
        # The keys of the API open none of these, and those that are open open nothing else.
        assert await handshake(served, "/twilio/stream", Authorization=f"Bearer {KEY}") == 403
        assert await handshake(served, "/ws") == 401
        assert await handshake(served, "/twilio/streams") == 401
        assert served.server.calls.active == 0

    run(test, streams=STREAMS, server=SERVER)


def test_the_name_by_which_providers_call_is_one_of_the_servers() -> None:
    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            codes = {}
            for host in ("voice.example.org", "elsewhere.example.org"):
                headers = {"Host": host, "Content-Type": "application/x-www-form-urlencoded"}
                async with http.post("/twilio/voice", data=b"", headers=headers) as response:
                    assert response.status == 403
                    codes[host] = (await response.json())["code"]
            assert codes == {
                "voice.example.org": "not_the_provider",
                "elsewhere.example.org": "forbidden_host",
            }

    run(test, streams=STREAMS, server=SERVER)


def test_nothing_is_there_that_is_not_configured() -> None:
    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            for path in ("/twilio/voice", "/telnyx/voice", "/plivo/voice", "/twilio/after"):
                async with http.post(path) as response:
                    assert response.status == 404
        for path in ("/twilio/stream", "/telnyx/stream", "/plivo/stream", "/asterisk/stream"):
            assert await handshake(served, path) == 404
        assert served.server.telephone.audiosocket_port is None

    run(test)


def test_strangers_do_not_reach_audiosocket() -> None:
    async def test(served: StreamServer) -> None:
        port = served.server.telephone.audiosocket_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x01\x00\x10" + bytes(16))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
        assert served.server.calls.active == 0

    run(test, streams={"audiosocket": {"port": 0, "networks": ["192.0.2.0/24"]}})


def test_audiosocket_hangs_up_where_all_lines_are_busy() -> None:
    async def test(served: StreamServer) -> None:
        first, second = AudioSocketSide(sound="little"), AudioSocketSide(sound="little")
        port = served.server.telephone.audiosocket_port
        assert port is not None
        async with over_tcp(first, port):
            await first.until(lambda: served.server.calls.active == 1)
            async with over_tcp(second, port):
                await second.ended.wait()
                assert second.got == ["HANGUP"]
            assert not first.ended.is_set()

    server = {**SERVER, "max_calls": 1}
    run(test, streams={"audiosocket": {"port": 0}}, server=server)


def test_little_is_kept_for_an_asterisk_that_does_not_read() -> None:
    """What is sent cannot be taken back: it is not to be minutes."""

    async def main() -> int:
        taken: asyncio.Future[AudioSocketConnection] = asyncio.get_running_loop().create_future()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            prepare(writer)
            taken.set_result(AudioSocketConnection(reader, writer))

        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        with far:
            far.setblocking(False)
            await asyncio.get_running_loop().sock_connect(far, server.sockets[0].getsockname())
            connection, frames = await taken, 0
            with contextlib.suppress(TimeoutError):
                while frames < 5000:
                    async with asyncio.timeout(0.2):
                        await connection.send(frame(0x10, bytes(320)))
                    frames += 1
        await connection.close()
        server.close()
        return frames

    assert asyncio.run(main()) < 50 * 5


async def posted(
    http: aiohttp.ClientSession, path: str, form: dict[str, str], headers: dict[str, str]
) -> ElementTree.Element:
    async with http.post(path, data=form, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/xml"
        return ElementTree.fromstring(await response.text())


TWILIO_FORM = {
    "CallSid": TwilioSide.call_sid,
    "From": "+14155550100",
    "To": "+14155550199",
    "Direction": "inbound",
    "CallStatus": "ringing",
    "CallerName": "",
}


def test_twilio_asks_calls_and_is_told_whom_to_join_the_call_to() -> None:
    """From the webhook to the transfer, with nothing of Twilio's API but what it asks of us."""
    llm = ScriptedLlm(
        replies=(calls("transfer_call", '{"target": "sales"}', says="One moment."), "Nobody is there.")
    )

    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            headers = signed_by_twilio("/twilio/voice", TWILIO_FORM)
            answer = await posted(http, "/twilio/voice", TWILIO_FORM, headers)
            connect, redirect = answer
            (stream,) = connect
            assert (connect.tag, stream.tag, redirect.tag) == ("Connect", "Stream", "Redirect")
            assert stream.get("url") == f"{ORIGIN.replace('https', 'wss')}/twilio/stream"
            assert redirect.text == f"{ORIGIN}/twilio/after"
            assert served.server.calls.active == 1, "its slot is kept"

            side = TwilioSide()
            side.parameters = {found.get("name", ""): found.get("value", "") for found in stream}
            async with over_websocket(
                side, served.ws("/twilio/stream"), headers=signed_by_twilio("/twilio/stream", stream=True)
            ):
                await side.until(lambda: side.sent_frames > 10)
                assert served.server.calls.active == 1
                party = served.leg.party
                assert (party.caller, party.called) == (TWILIO_FORM["From"], TWILIO_FORM["To"])
                assert party.parameters == {}
                side.say(speech(0.8), quiet(0.1))
                await side.ended.wait()
            headers = signed_by_twilio("/twilio/after", TWILIO_FORM)
            after = await posted(http, "/twilio/after", TWILIO_FORM, headers)
            assert after.find("Dial/Number").text == "+4930999"  # type: ignore[union-attr]
            await served.server.calls.until_nobody_calls()
            # Nothing more is wanted of a call that is over.
            after = await posted(http, "/twilio/after", TWILIO_FORM, headers)
            assert after.find("Hangup") is not None

    telephone = {"transfer_targets": [{"name": "sales", "to": "+4930999"}], "greeting_delay_s": 0}
    run(test, engines=ScriptedEngines(llm=llm), streams=STREAMS, telephone=telephone)


def test_plivo_and_telnyx_ask_too_and_their_streams_come_with_a_token_of_their_own() -> None:
    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            form = {"CallUUID": PlivoSide.call_id, "From": "14155550100", "To": "14155550199"}
            answer = await posted(http, "/plivo/voice", form, signed_by_plivo("/plivo/voice", form))
            stream, redirect = answer
            assert (stream.tag, stream.get("bidirectional"), stream.get("keepCallAlive")) == (
                "Stream",
                "true",
                "true",
            )
            assert stream.text is not None
            path = stream.text.removeprefix(ORIGIN.replace("https", "wss"))
            side = PlivoSide()
            async with over_websocket(side, served.ws(path), protocols=["audio.plivo.com"]):
                await side.until(lambda: side.sent_frames > 10)
                assert served.leg.party.caller == form["From"]
                assert "transfer" in served.leg.abilities
                # The token was for one stream.
                assert await handshake(served, path) == 403
                await side.leave()
            assert redirect.text == f"{ORIGIN}/plivo/after"
            after = await posted(http, "/plivo/after", form, signed_by_plivo("/plivo/after", form))
            assert after[0].tag == "Hangup"

            body = b"CallSid=v3%3Aabc&From=%2B13122010094&To=%2B13122123456"
            headers = signed_by_telnyx(body)
            async with http.post("/telnyx/voice", data=body, headers=headers) as response:
                answer = ElementTree.fromstring(await response.text())
            url = answer.find("Connect/Stream").get("url", "")  # type: ignore[union-attr]
            telnyx = TelnyxSide()
            path = url.removeprefix(ORIGIN.replace("https", "wss"))
            async with over_websocket(telnyx, served.ws(path)):
                await telnyx.until(lambda: telnyx.sent_frames > 10)
                # It has the slot that was kept, whatever the stream itself calls the call.
                assert served.server.calls.active == 1
                await telnyx.leave()

    run(test, streams=STREAMS)


def test_webhooks_of_strangers_are_refused() -> None:
    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:

            async def status(path: str, form: Any, headers: dict[str, str]) -> int:
                async with http.post(path, data=form, headers=headers) as response:
                    return response.status

            good = signed_by_twilio("/twilio/voice", TWILIO_FORM)
            forged = {**TWILIO_FORM, "From": "+14155550111"}
            assert await status("/twilio/voice", TWILIO_FORM, {}) == 403
            assert await status("/twilio/voice", forged, good) == 403
            assert await status("/twilio/after", TWILIO_FORM, good) == 403
            plivo = {"CallUUID": "1"}
            assert await status("/plivo/voice", plivo, {}) == 403
            assert (
                await status("/plivo/voice", {"CallUUID": "2"}, signed_by_plivo("/plivo/voice", plivo)) == 403
            )
            body = b"CallSid=1"
            old = signed_by_telnyx(body, wall_time_s() - 400)
            assert await status("/telnyx/voice", body, old) == 403
            assert await status("/telnyx/voice", b"CallSid=2", signed_by_telnyx(body)) == 403
            assert (
                await status("/telnyx/voice", body, {**signed_by_telnyx(body), "telnyx-timestamp": "x"})
                == 403
            )
            assert served.server.calls.active == 0

    run(test, streams=STREAMS)


def test_a_webhook_answers_one_call_once() -> None:
    """Its answer opens a stream: whoever kept one gets no other. A provider may ask again until that came."""

    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            body = b"CallUUID=1&From=%2B1&To=%2B2"
            form = {"CallUUID": "1", "From": "+1", "To": "+2"}
            plivo = {
                **signed_by_plivo("/plivo/voice", form),
                "Content-Type": "application/x-www-form-urlencoded",
            }
            telnyx = signed_by_telnyx(b"CallSid=2&From=%2B1&To=%2B2")
            for side, path, sent, headers in (
                (PlivoSide(), "/plivo/voice", body, plivo),
                (TelnyxSide(), "/telnyx/voice", b"CallSid=2&From=%2B1&To=%2B2", telnyx),
            ):
                addresses = []
                for _ in range(2):
                    async with http.post(path, data=sent, headers=headers) as response:
                        answer = await response.text()
                    assert served.server.calls.active == 1, answer
                    (address,) = re.findall(r"wss://[^/]*(/[^<\"]*)", answer)
                    addresses.append(address)
                assert await handshake(served, addresses[0]) == 403
                async with over_websocket(side, served.ws(addresses[1])):
                    await side.until(lambda side=side: side.sent_frames > 3)  # type: ignore[misc]
                    await side.leave()
                await served.server.calls.until_nobody_calls()
                async with http.post(path, data=sent, headers=headers) as response:
                    assert response.status == 403
            assert served.server.calls.active == 0

    run(test, streams=STREAMS, server={**SERVER, "max_calls": 1})


def test_a_call_that_is_over_takes_no_line() -> None:
    """Plivo says that a call has ended where it was answered, if it was told no other address for that."""

    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            form = {"CallUUID": "1", "From": "+1", "To": "+2", "CallStatus": "ringing"}
            answer = await posted(http, "/plivo/voice", form, signed_by_plivo("/plivo/voice", form))
            assert answer[0].tag == "Stream"
            assert served.server.calls.active == 1
            for _ in range(2):
                form = {**form, "CallStatus": "completed", "Event": "Hangup"}
                answer = await posted(http, "/plivo/voice", form, signed_by_plivo("/plivo/voice", form))
                assert [verb.tag for verb in answer] == ["Hangup"]
                assert served.server.calls.active == 0

    run(test, streams=STREAMS)


async def answered_with(served: StreamServer, request: bytes) -> bytes:
    """The status of a request that no client would write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    writer.write(request)
    status = (await reader.readline()).split()[1]
    writer.close()
    return status


def test_what_no_provider_would_write_is_a_strangers() -> None:
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n"
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )

    async def test(served: StreamServer) -> None:
        now = str(int(wall_time_s())).encode()
        for line, headers in (
            (b"POST /twilio/voice", form + b"X-Twilio-Signature: \xff\xc3\xa9\r\n"),
            (b"POST /plivo/voice", form + b"X-Plivo-Signature-V3-Nonce: \xff\r\n"),
            (
                b"POST /telnyx/voice",
                form + b"telnyx-signature-ed25519: \xc3\xa9\r\ntelnyx-timestamp: " + now + b"\r\n",
            ),
            (b"GET /telnyx/stream", upgrade + b"X-Telnyx-Streaming-Auth-Token: \xff\r\n"),
            (b"GET /plivo/stream?token=%ff%ED%A0%80", upgrade),
            (b"GET /asterisk/stream", upgrade + b"Authorization: Basic \xc3\xa9\r\n"),
            (b"GET /asterisk/stream", upgrade + b"Authorization: Basic gICA\r\n"),
        ):
            request = line + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\na=b"
            assert await answered_with(served, request) == b"403", line

    run(test, streams=STREAMS)


def test_a_proxys_network_is_not_asterisks() -> None:
    """Without a password, whoever reaches a proxy on this machine would reach this address."""

    async def test(served: StreamServer) -> None:
        passed_on = {"X-Forwarded-For": "198.51.100.7"}
        assert await handshake(served, "/asterisk/stream", **passed_on) == 403
        side = slin16()
        async with over_websocket(side, served.ws("/asterisk/stream")):
            await side.until(lambda: side.sent_frames > 3)
            await side.leave()

    run(test, streams={"chan_websocket": {"networks": ["127.0.0.0/8"]}})


def test_a_caller_who_finds_all_lines_taken_hears_that_they_are_busy() -> None:
    async def test(served: StreamServer) -> None:
        async with aiohttp.ClientSession(served.url) as http:
            for call_sid, verb in (("CA1", "Connect"), ("CA2", "Reject")):
                form = {**TWILIO_FORM, "CallSid": call_sid}
                headers = signed_by_twilio("/twilio/voice", form)
                answer = await posted(http, "/twilio/voice", form, headers)
                assert answer[0].tag == verb
            # The first call's stream never came: its line is free again.
            form = {**TWILIO_FORM, "CallSid": "CA1"}
            await posted(http, "/twilio/after", form, signed_by_twilio("/twilio/after", form))
            assert served.server.calls.active == 0

    run(test, streams=STREAMS, server={**SERVER, "max_calls": 1, "api_keys": []})


@pytest.mark.parametrize(
    ("streams", "wrong"),
    [
        ({"twilio": {"auth_token": AUTH_TOKEN}}, "public_origin"),
        ({"telnyx": {"public_key": "AAAA"}}, "public_key"),
        ({"plivo": {"stream_token": "short"}}, "stream_token"),
        ({"audiosocket": {"networks": ["nowhere"]}}, "networks"),
    ],
)
def test_settings_that_cannot_be_are_refused(streams: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        StreamsSettings.model_validate(streams)


def test_a_port_that_is_taken_is_told() -> None:
    async def test(served: StreamServer) -> None:
        port = served.server.telephone.audiosocket_port
        settings = StreamsSettings.model_validate({"audiosocket": {"port": port}})
        listening = audiosocket_listening(settings, served.server.telephone.starter)
        with pytest.raises(ConfigError, match=r"streams\.audiosocket\.port"):
            await listening.__aenter__()

    run(test, streams={"audiosocket": {"port": 0}})

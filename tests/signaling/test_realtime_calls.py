"""Offers to `/v1/realtime/calls`, good ones and bad ones, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import yarl
from scripted_call import Serving, serving
from webrtc_calls import SDP, offer_form, offer_of_a_stranger

from signaling.realtime_routes import CALLS_PATH

Error = tuple[int, str, str | None]


class Answer:
    """What came back. Whatever is no success is an error as the API has it."""

    def __init__(self, response: aiohttp.ClientResponse, text: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = text
        self.error: Error | None = None
        if self.status >= 400:
            assert response.content_type == "application/json"
            error = json.loads(text)["error"]
            assert error["message"]
            assert error["type"] == ("server_error" if self.status >= 500 else "invalid_request_error")
            self.error = self.status, error["code"], error["param"]


Ask = Callable[..., Awaitable[Answer]]


def serve(test: Callable[[Serving, Ask], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(20),
            serving(**options) as server,
            aiohttp.ClientSession(server.url) as http,
        ):

            async def ask(path: str = CALLS_PATH, **request: Any) -> Answer:
                async with http.post(path, **request) as response:
                    return Answer(response, await response.text())

            await test(server, ask)

    asyncio.run(main())


def test_bad_offers_are_refused_and_take_no_slot() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        cases: list[tuple[dict[str, Any], Error]] = [
            ({"data": "hello"}, (415, "unsupported_media_type", None)),
            ({"json": {"sdp": "v=0"}}, (415, "unsupported_media_type", None)),
            ({"data": b"hello", "headers": SDP}, (400, "invalid_sdp", "sdp")),
            ({"data": b"v=0\r\ns=-\r\n", "headers": SDP}, (400, "unsupported_media", "sdp")),
            (
                {"data": b"--edge", "headers": {"Content-Type": "multipart/form-data"}},
                (400, "invalid_request", None),
            ),
            (
                {"data": aiohttp.FormData({"session": "{}"}, default_to_multipart=True)},
                (400, "missing_required_parameter", "sdp"),
            ),
            ({"data": offer_form("hello")}, (400, "invalid_sdp", "sdp")),
            ({"data": offer_form("v=0", "{")}, (400, "invalid_value", "session")),
            (
                {"data": offer_form("v=0", {"audio": {"output": {"speed": 9}}})},
                (400, "invalid_value", "session.audio.output.speed"),
            ),
            (
                {"data": offer_form("v=0", {"instructions": "x" * 20_001})},
                (400, "invalid_value", "session.instructions"),
            ),
            (
                {"data": offer_form("v=0", {"greeting": "x" * 1001})},
                (400, "invalid_value", "session.greeting"),
            ),
            ({"data": io.BytesIO(b" " * 10_000_000), "headers": SDP}, (413, "body_too_large", None)),
        ]
        for request, error in cases:
            assert (await ask(**request)).error == error
        assert not server.host.conversations
        assert not server.host.taken

    serve(test)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "--edge",
        "--edge\r\n\r\nv=0\r\n--edge--",
        "--edge\r\n{name}\r\n\r\nv=0\r\n--edge\r\nContent-Di",
        "--edge\r\n{name}\r\nContent-Type: text/plain; charset=none\r\n\r\nv=0\r\n--edge--",
        "--edge\r\n{name}\r\nContent-Transfer-Encoding: none\r\n\r\nv=0\r\n--edge--",
        "--edge\r\n{name}\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!!\r\n--edge--",
        "--edge\r\n{name}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b--\r\n--edge--",
        "--edge\r\n{name}\r\nX: {long}\r\n\r\nv=0\r\n--edge--",
        "--edge\r\n\N{WAVE DASH}: x\r\n\r\nv=0\r\n--edge--",
    ],
)
def test_what_is_almost_a_form_is_the_clients_fault(body: str) -> None:
    async def test(server: Serving, ask: Ask) -> None:
        name = 'Content-Disposition: form-data; name="sdp"'
        kind = {"Content-Type": "multipart/form-data; boundary=edge"}
        answer = await ask(data=body.format(name=name, long="x" * 10_000).encode(), headers=kind)
        assert answer.error is not None
        assert answer.status == 400

    serve(test)


def test_a_body_without_a_length_is_cut_off_too() -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 10_000

    async def test(server: Serving, ask: Ask) -> None:
        assert (await ask(data=endless(), headers=SDP)).status == 413
        with aiohttp.MultipartWriter("form-data") as form:
            form.append(endless()).set_content_disposition("form-data", name="sdp")
        assert (await ask(data=form)).status == 413

    serve(test)


@pytest.mark.parametrize("kind", ["application/sdp", "multipart/form-data; boundary=edge"])
def test_a_client_that_goes_away_in_its_body_is_no_fault_of_ours(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(server: Serving, ask: Ask) -> None:
        place = yarl.URL(server.url)
        _, writer = await asyncio.open_connection(place.host, place.port)
        head = f"POST {CALLS_PATH} HTTP/1.1\r\nHost: localhost:{place.port}\r\nContent-Length: 1000\r\n"
        begun = '--edge\r\nContent-Disposition: form-data; name="sdp"\r\n\r\nv=0'
        writer.write(f"{head}Content-Type: {kind}\r\n\r\n{begun}".encode())
        await writer.drain()
        # Another request's answer says that the first one is being read.
        await ask(data=b"")
        writer.close()
        await writer.wait_closed()
        await ask(data=b"")
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    serve(test)


def test_an_offer_that_aiortc_cannot_take_frees_its_slot() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        broken = (await offer_of_a_stranger()).replace("UDP/DTLS/SCTP", "DTLS/SCTP")
        assert (await ask(data=broken.encode(), headers=SDP)).error == (400, "invalid_sdp", "sdp")
        assert not server.host.taken
        assert server.host.conversations[0].closed

    serve(test)


def test_a_calls_life_over_http() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask(data=offer_form(await offer_of_a_stranger()))
        assert (answer.status, answer.headers["Content-Type"]) == (201, "application/sdp")
        assert answer.text.startswith("v=0\r\n")
        call = answer.headers["Location"]
        assert call.startswith(f"{CALLS_PATH}/rtc_")
        assert (await ask(f"{call}/hangup")).status == 200
        await server.host.all_free()
        assert (await ask(f"{call}/hangup")).error == (404, "call_not_found", None)

    serve(test)


def test_a_full_server_says_when_to_come_back() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask(data=offer_form(await offer_of_a_stranger()))
        assert answer.error == (503, "server_full", None)
        assert answer.headers["Retry-After"] == "7"

    serve(test, slots=0)

"""Calls placed over HTTP, from a server whole: for those who have a key, and to whom it may call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from server.config import Config
from server.serve import Server, running_server
from signaling.phone.leg import NotAnswered
from tests.scripted import ScriptedEngines
from tests.signaling.phone.phone_calls import OUTBOUND, ScriptedDialler, ScriptedLeg

KEY = "a-key-for-the-tests"
TELEPHONE = {
    "allowed_destinations": ["+49*", "sip:*@pbx.example.org"],
    "greeting": "",
    "max_outbound_calls": 1,
}


@asynccontextmanager
async def telephone(
    dialler: ScriptedDialler | None, keys: tuple[str, ...] = (KEY,)
) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    sections = {
        "server": {"port": 0, "health_port": 0, "api_keys": keys, "drain_timeout_s": 0},
        "telephone": TELEPHONE,
    }
    async with running_server(Config.model_validate(sections), ScriptedEngines().engines()) as server:
        await server.engine_set.until_ready()
        server.telephone.dialler = dialler
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(server.url, headers=headers) as client:
            yield server, client


Body = Callable[[Server, aiohttp.ClientSession], Coroutine[Any, Any, None]]


def run(main: Body, dialler: ScriptedDialler | None, **options: Any) -> None:
    async def served() -> None:
        async with telephone(dialler, **options) as (server, client):
            await main(server, client)

    asyncio.run(served())


async def until(client: aiohttp.ClientSession, path: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            async with client.get(path) as response:
                call: dict[str, Any] = await response.json()
            if call["state"] == state:
                return call
            await asyncio.sleep(0.02)


def test_a_call_is_placed_watched_joined_and_ended() -> None:
    leg = ScriptedLeg(party=OUTBOUND)

    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        body = {"to": "+49 30 999", "instructions": "Ask for the time.", "session": {"include": ["x"]}}
        async with client.post("/api/calls", json=body) as response:
            assert response.status == 201
            path = response.headers["Location"]
            call = await response.json()
        assert call["state"] == "calling"
        assert (call["direction"], call["to"]) == ("outbound", "+4930999")
        assert path == f"/api/calls/{call['call_id']}"
        await until(client, path, "ringing")
        await until(client, path, "answered")
        async with client.ws_connect(f"/v1/realtime?call_id={call['call_id']}") as joined:
            created = await joined.receive_json(timeout=10)
            assert created["session"]["instructions"] == "Ask for the time."
            async with client.post("/api/calls", json={"to": "+49 30 999"}) as response:
                assert response.status == 429
                assert response.headers["Retry-After"]
                assert (await response.json())["code"] == "too_many_outbound_calls"
            async with client.delete(path) as response:
                assert response.status == 204
            ended = await until(client, path, "ended")
        assert ended["outcome"] == "completed"
        assert ended["ended_because"] == "hung up here"
        assert ended["began_at"] <= ended["answered_at"] <= ended["ended_at"]
        async with client.delete(path) as response:
            assert response.status == 204, "what is over is over"
        assert leg.ended_s is not None

    run(main, ScriptedDialler(leg, rings_s=0.1, answers_s=0.3))


def test_a_client_has_the_caller_handed_on() -> None:
    leg = ScriptedLeg(party=OUTBOUND, transfer_fails="The line is busy.")

    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        async with client.post("/api/calls", json={"to": "+4930999"}) as response:
            path = response.headers["Location"]
            call_id = (await response.json())["call_id"]
        refer = f"/v1/realtime/calls/{call_id}/refer"

        async def referred(target: str) -> tuple[int, str | None]:
            async with client.post(refer, json={"target_uri": target}) as response:
                answer = await response.json() if response.status >= 400 else {"error": {}}
                return response.status, answer["error"].get("code")

        assert await referred("tel:+4930888") == (409, "call_not_answered")
        await until(client, path, "answered")
        assert await referred("tel:+1900555") == (403, "destination_not_allowed")
        assert await referred("nobody") == (400, "invalid_destination")
        assert await referred("tel:+4930888") == (409, "transfer_failed")
        leg.transfer_fails = None
        assert await referred("tel:+49-30-888") == (200, None)
        assert leg.transferred == ["+4930888"]
        ended = await until(client, path, "ended")
        assert ended["ended_because"] == "transferred"

    run(main, ScriptedDialler(leg, rings_s=0.1, answers_s=0.5))


def test_a_busy_line() -> None:
    fails = NotAnswered("The line is busy.", "busy", 486)

    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        async with client.post("/api/calls", json={"to": "sip:20@pbx.example.org"}) as response:
            path = response.headers["Location"]
        call = await until(client, path, "ended")
        assert (call["outcome"], call["detail"], call["sip_status"]) == ("busy", "The line is busy.", 486)

    run(main, ScriptedDialler(ScriptedLeg(), rings_s=0, answers_s=0, fails=fails))


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "missing_required_parameter", "to"),
        ({"to": ""}, 400, "invalid_value", "to"),
        ({"to": 4930}, 400, "invalid_value", "to"),
        ({"to": "alice"}, 400, "invalid_destination", "to"),
        ({"to": "sip:a@pbx.example.org\r\nX: y"}, 400, "invalid_destination", "to"),
        ({"to": "+1900555"}, 403, "destination_not_allowed", "to"),
        ({"to": "sip:20@evil.example.org"}, 403, "destination_not_allowed", "to"),
        ({"to": "+4930", "caller": "+4930"}, 403, "caller_not_allowed", "caller"),
        ({"to": "+4930", "greeting": "x" * 1001}, 400, "invalid_value", "greeting"),
        ({"to": "+4930", "session": {"audio": {"output": {"voice": "nobody"}}}}, 400, None, None),
    ],
)
def test_what_is_refused(body: dict[str, Any], status: int, code: str | None, param: str | None) -> None:
    dialler = ScriptedDialler(ScriptedLeg())

    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        async with client.post("/api/calls", json=body) as response:
            assert response.status == status
            assert response.content_type == "application/problem+json"
            problem = await response.json()
        if code is not None:
            assert (problem["code"], problem["param"]) == (code, param)
        assert dialler.dialled == []
        assert server.calls.active == 0

    run(main, dialler)


def test_nobody_calls_without_a_key() -> None:
    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        for path, method in (
            ("/api/calls", "POST"),
            ("/api/calls/rtc_1", "GET"),
            ("/api/calls/rtc_1", "DELETE"),
        ):
            async with client.request(
                method, path, json={"to": "+4930"}, headers={"Authorization": ""}
            ) as refused:
                assert refused.status == 401

    run(main, ScriptedDialler(ScriptedLeg()))


def test_a_server_without_keys_places_no_calls() -> None:
    dialler = ScriptedDialler(ScriptedLeg())

    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        for path, method in (
            ("/api/calls", "POST"),
            ("/api/calls/rtc_1", "GET"),
            ("/api/calls/rtc_1", "DELETE"),
        ):
            async with client.request(method, path, json={"to": "+4930"}) as refused:
                assert refused.status == 403
                assert (await refused.json())["code"] == "keys_not_configured"
        assert dialler.dialled == []

    run(main, dialler, keys=())


def test_a_server_without_a_telephone() -> None:
    async def main(server: Server, client: aiohttp.ClientSession) -> None:
        async with client.post("/api/calls", json={"to": "+4930"}) as refused:
            assert refused.status == 501
        async with client.get("/api/calls/rtc_unknown") as unknown:
            assert unknown.status == 404

    run(main, None)

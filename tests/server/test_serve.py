"""The whole process around scripted engines: both ports over real loopback HTTP, its start and its stop."""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from media import overlap
from media.errors import ConfigError, EngineError
from media.events import TurnMeasured
from media.latency import Stage, TurnLatency
from media.overlap import OverlapClassifier
from server.config import Config
from server.machine_names import machine_names
from server.serve import Server, invitation, running_server
from tests.scripted import LevelVad, ScriptedEngines

MCP_SERVER = Path(__file__).resolve().parent.parent / "mcp_server.py"
POLLED = ("/ready", "/status", "/metrics", "/speech-to-speech/metrics", "/speech-to-speech/performance")


def config(**sections: dict[str, Any]) -> Config:
    server = {"port": 0, "health_port": 0, "max_calls": 1, "drain_timeout_s": 0.5}
    return Config.model_validate({**sections, "server": server | sections.get("server", {})})


@asynccontextmanager
async def probed(
    settings: Config, scripted: ScriptedEngines | None = None, *, wait: bool = True
) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    """A running server and a client of its health port."""
    async with running_server(settings, (scripted or ScriptedEngines()).engines()) as server:
        if wait:
            await server.engine_set.until_ready()
        async with aiohttp.ClientSession(server.health_url) as client:
            yield server, client


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


class HeldVad(LevelVad):
    """Loads until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def start(self) -> None:
        await self.let_go.wait()


def test_ready_when_warm_and_not_when_full() -> None:
    async def main() -> None:
        vad = HeldVad()
        async with probed(config(), ScriptedEngines(vad=vad), wait=False) as (server, client):
            assert await get(client, "/health") == (200, {"status": "alive"})
            status, body = await get(client, "/ready")
            assert (status, body["code"]) == (503, "server_starting")
            assert body["reason"]

            vad.let_go.set()
            await server.engine_set.until_ready()
            assert await get(client, "/ready") == (200, {"ready": True})

            slot = server.calls.admit()
            async with client.get("/ready") as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
                assert (await response.json())["code"] == "server_full"
            slot.release()
            assert (await get(client, "/ready"))[0] == 200

    asyncio.run(main())


def test_not_ready_while_draining() -> None:
    async def main() -> None:
        async with probed(config()) as (server, client), asyncio.TaskGroup() as tasks:
            slot = server.calls.admit()
            draining = tasks.create_task(server.calls.drain(30))
            await asyncio.sleep(0)
            status, body = await get(client, "/ready")
            assert (status, body["code"]) == (503, "server_draining")
            assert (await get(client, "/status"))[1]["draining"] is True
            slot.release()
            await draining

    asyncio.run(main())


def test_status_says_how_things_are() -> None:
    async def main() -> None:
        async with probed(config()) as (server, client):
            slot = server.calls.admit()
            _, status = await get(client, "/status")
            slot.release()
            assert status["calls"] == {"active": 1, "limit": 1}
            assert status["version"]
            assert status["uptime_s"] >= 0
            assert {role: engine["state"] for role, engine in status["engines"].items()} == dict.fromkeys(
                ("vad", "turn_end", "stt", "llm", "tts"), "ready"
            )
            assert status["engines"]["stt"]["name"] == "scripted"
            assert status["resources"]["process_memory_mb"] > 0
            assert isinstance(status["resources"]["gpus"], list)

    asyncio.run(main())


def test_tools_live_as_long_as_the_server() -> None:
    """No program of a tool server outlives it: the tests' own watch sees to that."""
    mcp = {"name": "home", "command": sys.executable, "args": [str(MCP_SERVER), "stdio"]}
    tools = {"python": ["tests.server.some_tools:double"], "mcp": [mcp], "offer": ["double", "greet"]}

    async def main() -> None:
        async with probed(config(tools=tools)) as (_, client):
            async with asyncio.timeout(20):
                while (report := (await get(client, "/status"))[1]["tools"])["mcp"][0]["state"] != "ready":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert report["python"] == ["double"]
            assert report["offered"] == ["double", "greet"]
            assert report["mcp"][0]["reason"] is None

    asyncio.run(main())


def test_a_server_whose_tools_are_wrong_does_not_start() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="some_tools has no absent"):
            async with probed(config(tools={"python": ["tests.server.some_tools:absent"]})):
                pytest.fail("it started")

    asyncio.run(main())


def test_metrics_in_both_forms() -> None:
    async def main() -> None:
        async with probed(config()) as (server, client):
            server.calls.admit().release()
            _, metrics = await get(client, "/speech-to-speech/metrics")
            assert metrics["calls"]["admitted"] == 1
            _, performance = await get(client, "/speech-to-speech/performance")
            assert performance["stages"]["stt"]["target_ms"] == 100
            async with client.get("/metrics") as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert "voxtral_kokoro_calls_active 0.0" in await response.text()
            async with client.get("/nothing") as response:
                assert response.status == 404

    asyncio.run(main())


def test_polling_ten_times_a_second_costs_little() -> None:
    """All five pages with a full window of latencies: processor time, the client's part included."""

    async def main() -> None:
        async with probed(config()) as (server, client):
            for number in range(1000):
                stages = (Stage("stt", 0, number), Stage("llm", number, 50), Stage("tts", number + 50, 150))
                latency = TurnLatency("item_1", "resp_1", stages, total_ms=number + 200)
                server.calls.metrics.observe(TurnMeasured(latency))
            rounds_s = []
            for _ in range(30):
                began_s = time.thread_time()
                for path in POLLED:
                    async with client.get(path) as response:
                        await response.read()
                rounds_s.append(time.thread_time() - began_s)
            print(f"a round of polls takes {statistics.median(rounds_s) * 1000:.1f} ms")
            assert statistics.median(rounds_s) < 0.02

    asyncio.run(main())


def test_the_page_and_its_signalling_are_there() -> None:
    async def main() -> None:
        async with running_server(config(), ScriptedEngines().engines()) as server:
            async with aiohttp.ClientSession(server.url) as client:
                async with client.get("/") as page:
                    assert page.status == 200
                    assert page.content_type == "text/html"
                    assert page.headers["X-Content-Type-Options"] == "nosniff"
                async with client.get("/api/config") as response:
                    body = await response.json()
                assert body["ice_servers"] == []
                assert body["spectrogram"] == {
                    "fft_size": 1024,
                    "smoothing": 0.6,
                    "floor_db": -90,
                    "ceiling_db": -20,
                    "frequency_max_hz": 8000,
                }
                assert [voice["name"] for voice in body["voices"]] == ["af_heart", "bf_emma", "jf_alpha"]
                change = {"tts": {"voice": "bf_emma"}}
                async with client.patch("/api/settings", json=change) as response:
                    assert (response.status, await response.json()) == (200, change)
                async with client.get("/api/config") as response:
                    assert (await response.json())["defaults"]["voice"] == "bf_emma"
                async with client.patch("/api/settings", json={"tts": {"voise": "x"}}) as response:
                    assert response.status == 422
                    problem = await response.json()
                assert problem["param"] == "tts.voise"
                assert "did you mean tts.voice?" in problem["detail"]

    asyncio.run(main())


def test_a_server_that_stops_says_so_to_its_sockets() -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as client:
            async with running_server(config(), ScriptedEngines().engines()) as server:
                await server.engine_set.until_ready()
                socket = await client.ws_connect(f"{server.url}/v1/realtime?model=x")
                assert (await socket.receive_json())["type"] == "session.created"
                async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                    tasks.create_task(server.calls.drain(0))
                    while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                        pass
                assert socket.close_code == 1001

    asyncio.run(main())


def test_beyond_loopback_the_machines_own_names_are_its_own() -> None:
    async def main() -> None:
        for host, status in (("127.0.0.1", 403), ("0.0.0.0", 200)):
            async with running_server(config(server={"host": host}), ScriptedEngines().engines()) as server:
                async with aiohttp.ClientSession() as client:
                    for name in machine_names():
                        async with client.get(server.url, headers={"Host": f"{name}:8000"}) as response:
                            assert response.status == status, (host, name)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")]
)
def test_urls_can_be_called(host: str, url: str) -> None:
    async def main() -> None:
        async with running_server(config(server={"host": host}), ScriptedEngines().engines()) as server:
            assert server.url.startswith(url)
            async with aiohttp.ClientSession() as client, client.get(server.url) as page:
                assert page.status == 200

    asyncio.run(main())


def test_whoever_listens_on_all_networks_is_told_what_others_type() -> None:
    settings = config(server={"host": "0.0.0.0", "port": 8000})
    assert invitation(config(), "http://127.0.0.1:8000", "10.0.0.7") == (
        "Open http://127.0.0.1:8000 in a browser and press the call button."
    )
    assert invitation(settings, "https://127.0.0.1:8000", "10.0.0.7") == (
        "Open https://127.0.0.1:8000 in a browser and press the call button. "
        "From another device: https://10.0.0.7:8000."
    )
    assert invitation(settings, "http://127.0.0.1:8000", "10.0.0.7").endswith(
        "From another device: http://10.0.0.7:8000. "
        "There, browsers give a microphone to https only: set server.tls_self_signed."
    )
    assert "another device" not in invitation(settings, "https://127.0.0.1:8000", None)


def test_an_offer_that_comes_too_early_is_told_when_to_come_again() -> None:
    async def main() -> None:
        vad = HeldVad()
        async with running_server(config(), ScriptedEngines(vad=vad).engines()) as server:
            async with aiohttp.ClientSession(server.url) as client:
                sdp, kind = AUDIO_OFFER.encode(), {"Content-Type": "application/sdp"}
                async with client.post("/v1/realtime/calls", data=sdp, headers=kind) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "2"
                    assert (await response.json())["error"]["code"] == "server_starting"
            vad.let_go.set()

    asyncio.run(main())


@pytest.mark.parametrize("key", ["port", "health_port"])
def test_a_port_in_use_is_one_sentence(key: str) -> None:
    async def main(port: int) -> None:
        with pytest.raises(ConfigError) as raised:
            async with running_server(config(server={key: port}), ScriptedEngines().engines()):
                pass
        assert str(raised.value) == (
            f"Port {port} on 127.0.0.1 is in use by another program: stop that one, or set server.{key}."
        )

    with socket.create_server(("127.0.0.1", 0)) as other:
        asyncio.run(main(other.getsockname()[1]))


async def serve_until_it_fails(scripted: ScriptedEngines) -> None:
    async with running_server(config(), scripted.engines()), asyncio.timeout(10):
        await asyncio.Event().wait()


def test_an_engine_that_does_not_start_stops_the_server() -> None:
    async def main() -> None:
        scripted = ScriptedEngines()
        scripted.tts.fails = EngineError("The voice is broken.")
        with pytest.raises(EngineError, match=r"^The voice is broken\.$"):
            await serve_until_it_fails(scripted)
        assert not scripted.llm.started

    asyncio.run(main())


def test_calls_are_given_the_overlap_classifier() -> None:
    async def main() -> None:
        async with probed(config()) as (server, _client):
            assert isinstance(server.calls.overlap_judge, OverlapClassifier)

    asyncio.run(main())


def test_damaged_weights_of_the_overlap_classifier_stop_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged = tmp_path / "overlap.npz"
    damaged.write_bytes(b"no weights")
    monkeypatch.setattr(overlap, "WEIGHTS_FILE", damaged)
    with pytest.raises(EngineError, match=r"overlap\.npz is damaged"):
        asyncio.run(serve_until_it_fails(ScriptedEngines()))


def test_stopping_waits_for_a_call_and_then_closes_everything() -> None:
    async def main() -> None:
        scripted = ScriptedEngines()
        end = asyncio.Event()
        ended = []

        async def call() -> None:
            await end.wait()
            assert scripted.llm.started, "engines outlive the calls"
            ended.append(True)

        async with probed(config(), scripted) as (server, _client):
            server.calls.admit().start(call(), end.set)
        assert ended == [True]
        assert not scripted.llm.started

    asyncio.run(main())


AUDIO_OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuvwx",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=rtpmap:111 opus/48000/2",
        "",
    ]
)

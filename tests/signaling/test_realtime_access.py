"""Who may call and join by the Realtime API, with which keys, and by what addresses."""

from __future__ import annotations

import json

import aiohttp
import openai
import pytest
import websockets
from openai import AsyncOpenAI
from pydantic import SecretStr
from realtime_client import base64_of, connected, question, serve
from scripted import ScriptedEngines, ScriptedLlm
from scripted_call import Serving
from webrtc_calls import offer_of_a_stranger

from signaling.caller import Caller
from signaling.settings import AccessSettings

KEY = "sk-test-0123456789abcdef"
ACCESS = AccessSettings(api_keys=(SecretStr(KEY),))


def test_a_full_server_says_so_before_the_upgrade() -> None:
    async def test(server: Serving) -> None:
        async with connected(server) as client:
            await client.event("session.created")
            async with aiohttp.ClientSession(server.url) as http:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect("/v1/realtime?model=x")
                assert refused.value.status == 503

    serve(test, slots=1)


def test_the_subprotocol_is_the_apis_or_none() -> None:
    async def test(server: Serving) -> None:
        async with aiohttp.ClientSession(server.url) as http:
            async with http.ws_connect("/v1/realtime", protocols=("realtime",)) as socket:
                assert socket.protocol == "realtime"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/v1/realtime", protocols=(f"openai-insecure-api-key.{KEY}",))
            assert refused.value.status == 400

    serve(test)


def test_keys() -> None:
    async def test(server: Serving) -> None:
        async with connected(server, KEY) as client:
            await client.event("session.created")
        async with aiohttp.ClientSession(server.url) as http:
            protocols = ("realtime", f"openai-insecure-api-key.{KEY}")
            async with http.ws_connect("/v1/realtime?model=x", protocols=protocols) as socket:
                assert socket.protocol == "realtime"
                assert json.loads((await socket.receive()).data)["type"] == "session.created"
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
                for method, path in (
                    ("GET", "/v1/realtime?model=x"),
                    ("POST", "/v1/realtime/calls"),
                    ("POST", "/v1/realtime/client_secrets"),
                    ("GET", "/v1/models"),
                    ("GET", "/v1/nothing"),
                ):
                    async with http.request(method, path, headers=headers) as response:
                        assert response.status == 401
                        error = (await response.json())["error"]
                    assert error["type"] == "invalid_request_error"
                    assert error["code"] in ("missing_api_key", "invalid_api_key")
                for method, path in (("PATCH", "/api/settings"), ("GET", "/api/config"), ("POST", "/whip")):
                    async with http.request(method, path, headers=headers) as response:
                        assert response.status == 401
                        assert response.headers["WWW-Authenticate"] == "Bearer"
                        assert (await response.json())["title"] == "Unauthorized"
            async with http.get("/api/config", headers={"Authorization": f"Bearer {KEY}"}) as response:
                assert response.status == 200
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as api:
            with pytest.raises(openai.AuthenticationError):
                await api.models.list()

    serve(test, access=ACCESS)


def test_a_client_secret_brings_its_session() -> None:
    async def test(server: Serving) -> None:
        session = {"type": "realtime", "instructions": "Speak like a pirate.", "model": "gpt-realtime-mini"}
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            secret = await api.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session=session,  # type: ignore[arg-type]
            )
            assert secret.value.startswith("ek_")
            assert secret.session.type == "realtime"
            assert secret.session.instructions == "Speak like a pirate."
            assert [model.id async for model in api.models.list()] == ["voxtral-kokoro"]
            with pytest.raises(openai.BadRequestError) as refused:
                await api.realtime.client_secrets.create(expires_after={"anchor": "created_at", "seconds": 9})
            assert refused.value.param == "expires_after.seconds"
        async with connected(server, secret.value) as client:
            created = await client.event("session.created")
            assert created.session.instructions == "Speak like a pirate."
            assert created.session.model == "gpt-realtime"
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=secret.value, max_retries=0) as api:
            with pytest.raises(openai.PermissionDeniedError):
                await api.realtime.client_secrets.create()
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="ek_none", max_retries=0) as api:
            with pytest.raises(openai.AuthenticationError):
                await api.models.list()

    serve(test, access=ACCESS)


def test_offers_by_http() -> None:
    async def test(server: Serving) -> None:
        offer = await offer_of_a_stranger()
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            # As the SDK sends it: a form, with the session.
            answer = await api.realtime.calls.create(
                sdp=offer, session={"type": "realtime", "instructions": "Be kind."}
            )
            assert answer.response.status_code == 201
            assert answer.response.headers["Content-Type"] == "application/sdp"
            assert answer.text.startswith("v=0")
            call_id = answer.response.headers["Location"].removeprefix("/v1/realtime/calls/")
            assert call_id.startswith("rtc_")
            assert server.calls.session(call_id).conversation.session.instructions == "Be kind."
            for act in (api.realtime.calls.reject, api.realtime.calls.accept):
                with pytest.raises(openai.BadRequestError) as refused:
                    await act(call_id, **({"type": "realtime"} if act == api.realtime.calls.accept else {}))
                assert refused.value.code == "not_a_sip_call"
            await api.realtime.calls.hangup(call_id)
            await server.host.all_free()
            with pytest.raises(openai.NotFoundError):
                await api.realtime.calls.hangup(call_id)
            with pytest.raises(openai.BadRequestError) as mistaken:
                await api.realtime.calls.create(sdp="hello")
            assert (mistaken.value.code, mistaken.value.param) == ("invalid_sdp", "sdp")
            with pytest.raises(openai.BadRequestError) as wrong:
                await api.realtime.calls.create(
                    sdp=offer,
                    session={"type": "realtime", "instructions": 5},  # type: ignore[typeddict-item]
                )
            assert wrong.value.param == "session.instructions"
        async with aiohttp.ClientSession(server.url) as http:
            headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {KEY}"}
            async with http.post("/v1/realtime/calls", data=offer, headers=headers) as response:
                assert response.status == 201
                place = response.headers["Location"]
                assert "a=msid:" in await response.text()
            await http.post(f"{place}/hangup", headers=headers)
            async with http.post("/v1/realtime/calls", json={"sdp": offer}, headers=headers) as response:
                assert response.status == 400 or response.status == 415
                assert "error" in await response.json()

    serve(test, access=ACCESS)


def test_joining_a_call() -> None:
    """A client that joins by the call's id sees what happens, acts, and is closed when the call is over."""
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("It is noon.",)))

    async def test(server: Serving) -> None:
        async with Caller(server.url) as caller:
            await caller.next_event("session.created")
            (call_id,) = server.calls._calls
            async with (
                connected(server, call_id=call_id) as first,
                connected(server, call_id=call_id) as second,
            ):
                created = await first.event("session.created")
                await second.event("session.created")
                assert created.session.id
                await first.connection.session.update(session={"type": "realtime", "instructions": "Hum."})
                assert (await first.event("session.updated")).session.instructions == "Hum."
                assert (await second.event("session.updated")).session.instructions == "Hum."
                await caller.next_event("session.updated")
                await first.connection.input_audio_buffer.append(audio="AAAA")
                assert (await first.event("error")).error.code == "audio_not_carried"
                await first.connection.response.create()
                done = await second.event("response.done")
                assert done.response.output[0].content[0].transcript == "It is noon."
                assert "error" not in second.types()
                await second.connection.close()
                await caller.next_event("output_audio_buffer.stopped")
                server.calls.get(call_id).hang_up()
                await first.event("output_audio_buffer.stopped")
                with pytest.raises(Exception, match="1000"):
                    await first.event("never")

    serve(test, engines)


def test_a_call_over_a_socket_is_found_like_any_other() -> None:
    """Who joins sees its events, and its audio; who hangs up ends it for all of them."""

    async def test(server: Serving) -> None:
        api = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        async with api, connected(server) as client:
            await client.event("session.created")
            call_id = client.call_id
            async with connected(server, call_id=call_id) as guest:
                await guest.event("session.created")
                await guest.connection.session.update(
                    session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
                )
                await client.event("session.updated")
                data = question(10.0, 0.0).as_int16().tobytes()
                await guest.connection.input_audio_buffer.append(audio=base64_of(data))
                await guest.connection.input_audio_buffer.commit()
                await client.event("input_audio_buffer.committed")
                await guest.connection.response.create()
                await client.event("response.done")
                await guest.event("response.done")
                assert guest.sound() == client.sound() != b""
                assert "error" not in guest.types()
                await api.realtime.calls.hangup(call_id)
                for member in (client, guest):
                    with pytest.raises(websockets.ConnectionClosedOK):
                        await member.event("never")
            with pytest.raises(openai.NotFoundError):
                await api.realtime.calls.hangup(call_id)

    serve(test)


def test_a_client_secret_acts_on_its_own_calls_alone() -> None:
    async def test(server: Serving) -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as api:
            mine = (await api.realtime.client_secrets.create()).value
            other = (await api.realtime.client_secrets.create()).value
            async with connected(server, mine) as client:
                call_id = client.call_id
                async with connected(server, mine, call_id=call_id) as guest:
                    await guest.event("session.created")
                with pytest.raises(websockets.InvalidStatus, match="404"):
                    async with connected(server, other, call_id=call_id):
                        pass
                for key, found in ((other, False), (KEY, True)):
                    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as who:
                        if found:
                            await who.realtime.calls.hangup(call_id)
                        else:
                            with pytest.raises(openai.NotFoundError):
                                await who.realtime.calls.hangup(call_id)
                await server.host.all_free()
            answer = await api.with_options(api_key=mine).realtime.calls.create(
                sdp=await offer_of_a_stranger()
            )
            call_id = answer.response.headers["Location"].rpartition("/")[2]
            with pytest.raises(openai.NotFoundError):
                await api.with_options(api_key=other).realtime.calls.hangup(call_id)
            await api.with_options(api_key=mine).realtime.calls.hangup(call_id)

    serve(test, access=ACCESS)


def test_joining_no_call() -> None:
    async def test(server: Serving) -> None:
        async with aiohttp.ClientSession(server.url) as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/v1/realtime?call_id=rtc_none")
            assert refused.value.status == 404
            async with http.get("/v1/realtime?model=x") as response:
                assert response.status == 426

    serve(test)

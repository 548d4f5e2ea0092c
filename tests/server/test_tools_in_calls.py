"""Tools in calls over real WebRTC: an endpoint calls a function and an MCP server's tool, and speaks of it.

The ear and the voice are scripted; in `test_with_the_real_engines` they are real, in a process of their own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.server_process import server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.engines.openai_chat import OpenAiChat
from media.resampler import resample
from server.config import Config
from server.serve import Server, running_server
from signaling.caller import Caller
from signaling.hearing import ReceivedEvent
from tests.openai_endpoint import Endpoint, Exchange, calls, says, sends_and_hangs
from tests.peers.voices import spoken, transcribed, words
from tests.scripted import ScriptedEngines, ScriptedStt, ScriptedTts

MCP_SERVER = Path(__file__).resolve().parent.parent / "mcp_server.py"
FUNCTIONS = ("double", "hang", "bad")
TOOLS: dict[str, Any] = {
    "python": [f"tests.server.some_tools:{name}" for name in FUNCTIONS],
    "mcp": [{"name": "home", "command": sys.executable, "args": [str(MCP_SERVER), "stdio"]}],
}
TRANSCRIPT = "response.output_audio_transcript.done"


def question() -> Audio:
    """Loud enough for the scripted ear, and what a codec carries: a tone."""
    t = np.arange(round(1.2 * SPEECH_RATE_HZ), dtype=np.float32) / SPEECH_RATE_HZ
    tone = Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), SPEECH_RATE_HZ)
    return concatenate([tone, silence(2.0, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


async def thinks(exchange: Exchange) -> None:
    """Doubles and greets when it is asked to, and says what came of it."""
    messages = exchange.body["messages"]
    said = [message for message in messages if message["role"] == "user"]
    brought = [message["content"] for message in messages if message["role"] == "tool"]
    if messages[-1]["role"] == "tool":
        await says(f"The number is {brought[-2]}. ", f"The house says {brought[-1]}")(exchange)
    elif exchange.body.get("tools") and "double" in said[-1]["content"].lower():
        await calls(("call_1", "double", '{"number": 21}'), ("call_2", "greet", '{"name": "Emma"}'))(exchange)
    else:
        await says("At your service.")(exchange)


@asynccontextmanager
async def serving(endpoint: Endpoint, heard: str, tools: dict[str, Any]) -> AsyncIterator[Server]:
    sections = {"server": {"port": 0, "health_port": 0}, "tools": tools}
    config = Config.model_validate(sections)
    scripted = ScriptedEngines(stt=ScriptedStt(says=(heard,)), tts=ScriptedTts(takes_s=0.01, word_s=0.05))
    engines = replace(scripted.engines(), llm=OpenAiChat(endpoint.base_url, "a-model"))
    async with running_server(config, engines) as running:
        await running.engine_set.until_ready()
        async with asyncio.timeout(20):
            while len(running.toolbox.report["offered"]) < 12:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield running


async def said_in(caller: Caller) -> str:
    """What the assistant says next, once it was heard."""
    said: ReceivedEvent = await caller.next_event(TRANSCRIPT)
    await caller.next_event("output_audio_buffer.stopped")
    return str(said.event["transcript"])


def test_a_call_in_which_tools_are_called() -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(60),
            Endpoint((thinks,)).running() as endpoint,
            serving(endpoint, "Double my number and greet Emma", TOOLS) as running,
            Caller(running.url) as caller,
        ):
            spoken_at_s = await caller.say(question())
            assert await said_in(caller) == "The number is 42. The house says Hello, Emma!"
            assert caller.first_audible(spoken_at_s) is not None
            asked, answered = endpoint.bodies[-2:]
            assert {"double", "greet"} < {tool["function"]["name"] for tool in asked["tools"]}
            assert [message["role"] for message in answered["messages"]] == [
                "system",
                "user",
                "assistant",
                "tool",
                "tool",
            ]
            called, *brought = answered["messages"][2:]
            assert [call["function"]["name"] for call in called["tool_calls"]] == ["double", "greet"]
            assert [message["tool_call_id"] for message in brought] == [
                call["id"] for call in called["tool_calls"]
            ]

    asyncio.run(main())


def test_a_tool_that_fails_or_hangs_does_not_end_the_call() -> None:
    async def thinks_badly(exchange: Exchange) -> None:
        messages = exchange.body["messages"]
        if messages[-1]["role"] == "tool":
            await says(f"Sorry: {messages[-1]['content']}")(exchange)
        elif exchange.body.get("tools") and "boiler" in messages[-1]["content"]:
            name, arguments = messages[-1]["content"].split(maxsplit=2)[1:]
            await calls(("call_1", name, arguments))(exchange)
        else:
            await says("At your service.")(exchange)

    async def main() -> None:
        tools = {**TOOLS, "timeout_s": 0.5}
        async with (
            asyncio.timeout(60),
            Endpoint((thinks_badly,)).running() as endpoint,
            serving(endpoint, "hello", tools) as running,
            Caller(running.url) as caller,
        ):
            for call, answer in {
                'bad {"kind": "told"}': "There is no such room.",
                "hang {}": "within 0.5 s",
                "die {}": "The tool server home broke off",
                "absent {}": "no tool 'absent'",
                'double {"number": "many"}': "number: Input should be a valid integer",
            }.items():
                caller.type_text(f"boiler {call}")
                assert answer in await said_in(caller)
            caller.type_text("Still there?")
            assert await said_in(caller) == "At your service."

    asyncio.run(main())


def test_an_interrupted_call_of_a_tool_is_given_up() -> None:
    async def main() -> None:
        answers = (says("Warm."), sends_and_hangs())
        async with (
            asyncio.timeout(60),
            Endpoint(answers).running() as endpoint,
            serving(endpoint, "hello", TOOLS) as running,
        ):
            async with Caller(running.url) as caller:
                caller.type_text("Hello")
                await caller.next_event("response.created")
                caller.send_event({"type": "response.cancel"})
                await caller.next_event("response.done")
                await endpoint.aborted.wait()

    asyncio.run(main())


@pytest.mark.models
@pytest.mark.timeout(300)
def test_with_the_real_engines(models_dir: Path) -> None:
    """Whisper hears, the engine process asks the endpoint, Kokoro speaks, a larger Whisper understands it."""
    says_it = spoken(models_dir, "Please double my number, and greet Emma.", "bf_emma")
    said = concatenate([says_it, silence(0.5, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)

    async def main() -> Audio:
        async with asyncio.timeout(250), Endpoint((thinks,)).running() as endpoint:
            settings = {
                "LLM__ENGINE": "openai",
                "LLM__BASE_URL": endpoint.base_url,
                "LLM__NAME": "a-model",
                "LLM__API_KEY": "sk-123",
                "TOOLS__PYTHON": json.dumps(TOOLS["python"]),
                "TOOLS__MCP": json.dumps(TOOLS["mcp"]),
            }
            environment = {f"VOXTRAL_KOKORO__{name}": value for name, value in settings.items()}
            environment["PYTHONPATH"] = str(MCP_SERVER.parent.parent)
            with ExitStack() as stack:
                running = await asyncio.to_thread(stack.enter_context, server(environment))
                async with Caller(running.url) as caller:
                    await caller.say(said)
                    assert "42" in await said_in(caller)
                    assert set(endpoint.keys) == {"Bearer sk-123"}
                    heard = caller.recording()
                await asyncio.to_thread(stack.close)
            return heard

    understood = set(words(transcribed(models_dir, resample(asyncio.run(main()), SPEECH_RATE_HZ))))
    assert {"number", "hello", "emma"} & understood

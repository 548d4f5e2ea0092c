"""Calls in which the LLM wants the server's tools, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence

from media.conversation_settings import ConversationSettings
from media.items import FunctionCallOutput
from media.tool_runs import ToolSettings
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedStt, quiet, speech
from tests.virtual_call import VirtualCall

BERLIN = '{"city": "Berlin"}'
QUESTION = (quiet(0.3), speech(0.8), quiet(0.8))
"""Asked, and answered by 1.6 s after the beginning at the latest."""


def scripted(*replies: str | Calls, says: Sequence[str] = ("how is the weather",)) -> ScriptedEngines:
    return ScriptedEngines(stt=ScriptedStt(says=says), llm=ScriptedLlm(replies=replies))


def settings(**tools: object) -> ConversationSettings:
    return ConversationSettings(tools=ToolSettings(**tools))  # type: ignore[arg-type]


def outputs(call: VirtualCall) -> list[str]:
    return [item.output for item in call.conversation.items if isinstance(item, FunctionCallOutput)]


def kinds(call: VirtualCall) -> list[str]:
    return [type(item).__name__ for item in call.conversation.items]

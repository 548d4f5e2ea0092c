"""A request in the fields of OpenAI's chat completions, which llama.cpp takes as well."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from media.engines.protocols import ChatMessage, LlmRequest
from media.tools import FUNCTION_CHOICE, Tool, ToolChoice


def messages_of(request: LlmRequest) -> list[dict[str, Any]]:
    """`messages`. The last one of a reply that has begun is its beginning."""
    begun = [{"role": "assistant", "content": request.begun}] if request.begun else []
    return [*(_message(message) for message in request.messages), *begun]


def tools_of(request: LlmRequest) -> dict[str, Any]:
    """`tools` and `tool_choice`; nothing where there are none: endpoints refuse an empty list."""
    if not request.tools:
        return {}
    return {
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": _tool_choice(request.tool_choice),
    }


def _message(message: ChatMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    return {
        "role": message.role,
        "content": message.text or None,
        "tool_calls": [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ],
    }


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": from_json(tool.parameters)}
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.startswith(FUNCTION_CHOICE):
        return {"type": "function", "function": {"name": choice.removeprefix(FUNCTION_CHOICE)}}
    return choice

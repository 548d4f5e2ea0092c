"""OpenAI's chat completions from the serving side: a request that is read, and the reply's chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from media.clock import wall_time_s
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCall
from media.errors import CallerError
from media.items import new_id
from media.tools import FUNCTION_CHOICE, Tool, ToolChoice
from signaling.realtime_base import FromClient

_LONGEST_REPLY_TOKENS = 4096
"""Where the request does not say."""


class CalledFunction(FromClient):
    """What a call in a message calls."""

    name: str
    arguments: str = ""


class CallInMessage(FromClient):
    """A call that the assistant made."""

    id: str = ""
    function: CalledFunction


class TextPart(FromClient):
    """A part of a message. There are no others that these models read."""

    type: Literal["text"]
    text: str


class MessageIn(FromClient):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    tool_calls: tuple[CallInMessage, ...] | None = None
    tool_call_id: str = ""

    def message(self) -> ChatMessage:
        content = self.content or ""
        text = content if isinstance(content, str) else " ".join(part.text for part in content)
        return ChatMessage(
            "system" if self.role == "developer" else self.role,
            text,
            tuple(
                ToolCall(call.id, call.function.name, call.function.arguments)
                for call in self.tool_calls or ()
            ),
            self.tool_call_id,
        )


class OfferedFunction(FromClient):
    """A function that may be called."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    description: str = ""
    parameters: dict[str, Any] | None = None


class OfferedTool(FromClient):
    """A tool that may be called."""

    type: Literal["function"]
    function: OfferedFunction

    def tool(self) -> Tool:
        function = self.function
        parameters = function.parameters or {"type": "object", "properties": {}}
        return Tool(function.name, function.description, json.dumps(parameters))


class NamedFunction(FromClient):
    name: str


class ChosenTool(FromClient):
    """A tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class StreamOptions(FromClient):
    include_usage: bool = False


class ResponseFormat(FromClient):
    type: str = "text"


class ChatRequest(FromClient):
    """The body of `POST /v1/chat/completions`. What would change the reply, and is not done here, is refused;
    `prompt_cache_key` is which conversation it is. `continue_final_message`, which is vLLM's: the last
    message is a reply that has begun, and is gone on with."""

    model: str
    messages: Annotated[tuple[MessageIn, ...], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=0, le=131_072)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0, le=131_072)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tools: tuple[OfferedTool, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    prompt_cache_key: str = ""
    continue_final_message: bool = False
    n: int | None = None
    stop: str | tuple[str, ...] | None = None
    response_format: ResponseFormat | None = None

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def request(self, default_temperature: float) -> LlmRequest:
        """The request, for the engine.

        Raises:
            CallerError: it asks for something that is not done here.
        """
        self._require_possible()
        messages = tuple(message.message() for message in self.messages)
        begun = ""
        if self.continue_final_message:
            *earlier, last = messages
            if last.role != "assistant" or last.tool_calls:
                raise CallerError(
                    "Only an assistant's message can be gone on with, and none that calls tools.",
                    code="invalid_value",
                    param="continue_final_message",
                )
            messages, begun = tuple(earlier), last.text
        limits = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        return LlmRequest(
            messages,
            min(limits, default=_LONGEST_REPLY_TOKENS),
            default_temperature if self.temperature is None else self.temperature,
            self.prompt_cache_key,
            tuple(tool.tool() for tool in self.tools or ()),
            self._tool_choice(),
            begun,
        )

    def _require_possible(self) -> None:
        refused = {
            "n": self.n not in (None, 1),
            "stop": bool(self.stop),
            "response_format": self.response_format is not None and self.response_format.type != "text",
        }
        for name, is_refused in refused.items():
            if is_refused:
                raise CallerError(f"{name} is not done here.", code="unsupported_parameter", param=name)

    def _tool_choice(self) -> ToolChoice:
        match self.tool_choice:
            case None:
                return "auto"
            case ChosenTool(function=function):
                return FUNCTION_CHOICE + function.name
            case choice:
                return choice


Json: TypeAlias = dict[str, Any]


class Completion:
    """One reply, as it is sent.

    Args:
        model: its name, as it was asked for.
    """

    def __init__(self, model: str) -> None:
        self._id = new_id("chatcmpl")
        self._model = model
        self._created = int(wall_time_s())

    def chunk(self, delta: LlmDelta, *, first: bool) -> Json:
        """A delta, as `chat.completion.chunk`."""
        said: Json = {"role": "assistant", "content": delta.text} if first else {}
        if delta.text:
            said["content"] = delta.text
        if delta.tool_calls:
            said["tool_calls"] = [
                {
                    "index": piece.index,
                    **(
                        {"id": piece.call_id or new_id("call"), "type": "function"}
                        if piece.call_id or piece.name
                        else {}
                    ),
                    "function": {"arguments": piece.arguments} | ({"name": piece.name} if piece.name else {}),
                }
                for piece in delta.tool_calls
            ]
        choice = {"index": 0, "delta": said, "finish_reason": delta.finish}
        return self._object("chat.completion.chunk", choices=[choice])

    def usage_chunk(self, last: LlmDelta) -> Json:
        """What the reply cost, as a chunk without choices."""
        return self._object("chat.completion.chunk", choices=[], usage=_usage(last))

    def whole(self, deltas: Sequence[LlmDelta]) -> Json:
        """All of the reply, as `chat.completion`."""
        calls: dict[int, Json] = {}
        for piece in (piece for delta in deltas for piece in delta.tool_calls):
            call = calls.setdefault(
                piece.index,
                {
                    "id": piece.call_id or new_id("call"),
                    "type": "function",
                    "function": {"name": piece.name, "arguments": ""},
                },
            )
            call["function"]["arguments"] += piece.arguments
        text = "".join(delta.text for delta in deltas)
        message: Json = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = list(calls.values())
        last = deltas[-1] if deltas else LlmDelta("", "stop")
        choice = {"index": 0, "message": message, "finish_reason": last.finish or "stop"}
        return self._object("chat.completion", choices=[choice], usage=_usage(last))

    def _object(self, kind: str, **members: Any) -> Json:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            **members,
        }


def _usage(last: LlmDelta) -> Json:
    return {
        "prompt_tokens": last.input_tokens,
        "completion_tokens": last.output_tokens,
        "total_tokens": last.input_tokens + last.output_tokens,
        "prompt_tokens_details": {"cached_tokens": last.cached_tokens},
    }

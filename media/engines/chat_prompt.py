"""What a chat model on torch is shown: its conversation in the form that its own template gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from media.engines.openai_request import messages_of, tools_of
from media.engines.protocols import LlmRequest
from media.engines.tool_call_text import OPEN
from media.errors import EngineError
from media.tools import FUNCTION_CHOICE


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation, ready to be read.

    Attributes:
        tokens: all of it.
        begun: what of the reply is among them already: a call that has to be made.
        may_call: whether the reply may hold calls.
    """

    tokens: tuple[int, ...]
    begun: str
    may_call: bool


class ChatPrompts:
    """Makes them.

    Args:
        tokenizer: of transformers, with a chat template.
        name: of the model.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        template = tokenizer.chat_template
        if not template:
            raise EngineError(
                f"The model {name} has no chat template: set llm.name to one that was made for conversations."
            )
        self._tokenizer = tokenizer
        self._knows_tools = "tools" in str(template)
        self._calls_in_standard_form = OPEN in str(template)

    def prompt(self, request: LlmRequest) -> ChatPrompt:
        """The prompt; of a request that only reads ahead, the messages alone. Blocking.

        Raises:
            jinja2.TemplateError: the template does not take such a conversation.
        """
        tools = tools_of(request).get("tools") if self._may_call(request) else None
        text = self._tokenizer.apply_chat_template(
            list(_messages(request, with_calls=self._knows_tools)),
            tools=tools,
            add_generation_prompt=request.max_tokens > 0 and not request.begun,
            continue_final_message=bool(request.begun),
            tokenize=False,
            enable_thinking=False,  # nobody on a telephone waits for it; templates that know it leave it out
        )
        begun = self._begun(request) if tools and request.max_tokens else ""
        tokens = self._tokenizer(text + begun, add_special_tokens=False)["input_ids"]
        return ChatPrompt(tuple(tokens), begun, bool(tools))

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _may_call(self, request: LlmRequest) -> bool:
        return self._knows_tools and bool(request.tools) and request.tool_choice != "none"

    def _begun(self, request: LlmRequest) -> str:
        """A call that has to be made, as far as that is known: the model cannot but go on with it."""
        choice = request.tool_choice
        if choice == "auto" or request.begun or not self._calls_in_standard_form:
            return ""
        if not choice.startswith(FUNCTION_CHOICE):
            return f"{OPEN}\n"
        return f'{OPEN}\n{{"name": "{choice.removeprefix(FUNCTION_CHOICE)}", "arguments": '


def _messages(request: LlmRequest, *, with_calls: bool) -> Iterator[dict[str, Any]]:
    """The messages as templates take them: text is never missing, arguments are objects.

    A template that knows no tools is shown neither calls nor what they brought.
    """
    for message in messages_of(request):
        calls = message.pop("tool_calls", ())
        message["content"] = message["content"] or ""
        if not with_calls and (message["role"] == "tool" or (calls and not message["content"])):
            continue
        if calls and with_calls:
            message["tool_calls"] = [_with_object(call) for call in calls]
        yield message


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = from_json(function["arguments"])
    except ValueError:
        arguments = function["arguments"]
    return call | {"function": function | {"arguments": arguments}}

"""Tools as the Realtime API writes them: what a client offers, and what must be called. Both ways."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from media.tools import FUNCTION_CHOICE, Tool, ToolChoice
from signaling.realtime_base import FromClient, FunctionName, ToClient

MAX_TOOLS = 128
MAX_DESCRIPTION_CHARS = 10_000
MAX_PARAMETERS_CHARS = 20_000
"""Of the schema of one tool's arguments. An LLM reads all of it with each prompt that it has not read yet."""

# --- from the client -------------------------------------------------------------------------------------


def _parameters(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if value.get("type", "object") != "object":
        raise ValueError('the arguments of a function are an object: give a schema of type "object"')
    text = to_json(value).decode()
    if len(text) > MAX_PARAMETERS_CHARS:
        raise ValueError(f"the schema has more than {MAX_PARAMETERS_CHARS} characters")
    # Infinite numbers, or what is none, would be written as no JSON has them.
    from_json(text, allow_inf_nan=False)
    return value


Parameters = Annotated[dict[str, JsonValue], AfterValidator(_parameters)]
"""JSON Schema of a function's arguments."""


class FunctionTool(FromClient):
    """A function that the client runs. Tools of MCP servers are the server's, and its configuration's."""

    type: Literal["function"] = "function"
    name: FunctionName
    description: str | None = Field(default=None, max_length=MAX_DESCRIPTION_CHARS)
    parameters: Parameters | None = None


def _different(tools: tuple[FunctionTool, ...]) -> tuple[FunctionTool, ...]:
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two tools are called {twice}")
    return tools


FunctionTools = Annotated[tuple[FunctionTool, ...], Field(max_length=MAX_TOOLS), AfterValidator(_different)]


class NamedFunction(FromClient):
    """The function that must be called."""

    type: Literal["function"]
    name: FunctionName


_NAMED_FUNCTION = TypeAdapter(NamedFunction)


def _tool_choice(value: object) -> Literal["auto", "none", "required"] | NamedFunction:
    match value:
        case "auto" | "none" | "required":
            return value
        case _:
            try:
                return _NAMED_FUNCTION.validate_python(value)
            except ValidationError:
                raise ValueError(
                    'give "auto", "none", "required", or {"type": "function", "name": …}'
                ) from None


ToolChoiceFromClient = Annotated[
    Literal["auto", "none", "required"] | NamedFunction, PlainValidator(_tool_choice)
]


def choice_from_client(
    choice: Literal["auto", "none", "required"] | NamedFunction | None,
) -> ToolChoice | None:
    """The choice as the conversation has it; None where the client made none."""
    return f"{FUNCTION_CHOICE}{choice.name}" if isinstance(choice, NamedFunction) else choice


def tools_from_client(tools: tuple[FunctionTool, ...]) -> tuple[Tool, ...]:
    """The tools as the conversation has them. One without a schema takes no arguments."""
    return tuple(
        Tool(
            tool.name,
            tool.description or "",
            to_json(
                {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
            ).decode(),
        )
        for tool in tools
    )


# --- to the client ---------------------------------------------------------------------------------------


class WireFunctionTool(ToClient):
    type: Literal["function"] = "function"
    name: str
    description: str
    parameters: dict[str, JsonValue]


class WireFunctionChoice(ToClient):
    type: Literal["function"] = "function"
    name: str


ToolChoiceToClient: TypeAlias = Literal["auto", "none", "required"] | WireFunctionChoice


def tools_to_wire(tools: tuple[Tool, ...]) -> tuple[WireFunctionTool, ...]:
    return tuple(
        WireFunctionTool(name=tool.name, description=tool.description, parameters=from_json(tool.parameters))
        for tool in tools
    )


def choice_to_wire(choice: ToolChoice) -> ToolChoiceToClient:
    name = choice.removeprefix(FUNCTION_CHOICE)
    if name != choice:
        return WireFunctionChoice(name=name)
    match choice:
        case "none" | "required":
            return choice
        case _:
            return "auto"

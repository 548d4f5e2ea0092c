"""Which tools a response may call, and who runs them."""

from __future__ import annotations

from dataclasses import dataclass

from media.errors import CallerError
from media.items import ResponseOptions
from media.session import SessionConfig
from media.tools import FUNCTION_CHOICE, Tool, ToolChoice


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """What one response may call.

    Attributes:
        tools: that the LLM is told of.
        choice: whether it may, or must, call one. Without tools always `auto`: there is nothing to choose.
        client_names: the tools that the client runs.
        served: whether the server runs what the client does not; it answers for names that nobody knows, too.
        parallel: whether more than one may be called. Engines are not told: what is too much is not taken.
    """

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = "auto"
    client_names: frozenset[str] = frozenset()
    served: bool = False
    parallel: bool = True

    @property
    def open(self) -> bool:
        """Whether a call may come of it."""
        return bool(self.tools) and self.choice != "none"

    def is_by_server(self, name: str) -> bool:
        """Whether the server runs what was called by this name."""
        return self.served and name not in self.client_names


NO_TOOLS = ToolOffer()


def tool_offer(session: SessionConfig, options: ResponseOptions, in_server: tuple[Tool, ...]) -> ToolOffer:
    """What a response may call: the client's tools, and those of the server that have other names.

    A response with tools of its own, with input of its own, or out of band has the client's alone: what the
    server's would bring goes into the history. A tool that is not there (any more) need not be called.
    """
    if options.spoken_text is not None:
        return NO_TOOLS
    by_client = session.tools if options.tools is None else options.tools
    names = frozenset(tool.name for tool in by_client)
    served = options.tools is None and options.input is None and options.conversation == "auto"
    tools = by_client
    if served:
        tools = (*by_client, *(tool for tool in in_server if tool.name not in names))
    choice = options.tool_choice or session.tool_choice
    if not tools or _missing(choice, tools) is not None:
        choice = "auto"
    parallel = session.parallel_calls if options.parallel_calls is None else options.parallel_calls
    return ToolOffer(tools, choice, names, served, parallel)


def require_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> None:
    """Checks that what must be called is there.

    Raises:
        CallerError: it is none of these tools.
    """
    missing = _missing(choice, tools)
    if missing is not None:
        raise CallerError(
            f"there is no tool {missing!r} that could be called", code="invalid_value", param="tool_choice"
        )


def _missing(choice: ToolChoice, tools: tuple[Tool, ...]) -> str | None:
    """The tool that must be called, where it is none of these."""
    name = choice.removeprefix(FUNCTION_CHOICE)
    return name if name != choice and all(tool.name != name for tool in tools) else None

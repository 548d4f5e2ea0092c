"""What the LLM may do on the telephone: hang up, hand the caller on, press keys. One box for one call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from media.errors import CallerError, ToolError
from media.tools import Tool
from signaling.phone.leg import DIGITS, PhoneLeg
from signaling.phone.settings import TelephoneSettings

MAX_DIGITS: Final = 64
LONGEST_WAIT_S: Final = 15.0
"""A far side that is never quiet (music, a tone, a television) is hung up on, or handed on, after so long."""

log = logging.getLogger(__name__)


class PhoneLine(Protocol):
    """The call, as its tools know it."""

    @property
    def leg(self) -> PhoneLeg | None:
        """None while nobody has answered."""

    def say(self, sentence: str) -> None:
        """Says it.

        Raises:
            CallerError: something is being said already, or nothing can be.
        """

    async def until_said(self) -> None:
        """Returns when all that was said has left, whatever the far side says."""

    async def until_heard(self) -> None:
        """Returns when all that was said has been heard, and the far side says nothing."""

    def end(self, why: str) -> None:
        """Ends the call soon, for this reason."""


class PhoneTools:
    """Satisfies `media.tools.Toolbox`.

    What is said before the tool is called is heard first: nobody is cut off in a goodbye. Whoever speaks
    meanwhile stops the tool, as any other.

    Args:
        settings: what may be done.
        line: the call.
    """

    def __init__(self, settings: TelephoneSettings, line: PhoneLine) -> None:
        self._settings = settings
        self._line = line
        self._targets = {target.name: target for target in settings.transfer_targets}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What this call's leg can, and the settings allow."""
        leg, allowed = self._line.leg, self._settings.tools
        if leg is None:
            return ()
        tools = []
        if "hang_up" in allowed:
            tools.append(_HANG_UP)
        if "transfer_call" in allowed and "transfer" in leg.abilities and self._targets:
            tools.append(self._transfer_tool())
        if "send_digits" in allowed and "digits" in leg.abilities and leg.party.direction == "outbound":
            tools.append(_SEND_DIGITS)
        return tuple(tools)

    async def call(self, name: str, arguments: str) -> str:
        """Does it, once the caller has heard what was said.

        Raises:
            ToolError: it cannot be done; the LLM is told why.
        """
        leg = self._line.leg
        acts: dict[str, Callable[[PhoneLeg, dict[str, Any]], Awaitable[str]]] = {
            "hang_up": self._hang_up,
            "transfer_call": self._transfer,
            "send_digits": self._send_digits,
        }
        if leg is None or all(tool.name != name for tool in self.tools):
            raise ToolError(f"There is no tool {name}.")
        return await acts[name](leg, _object_in(arguments))

    async def _hang_up(self, _leg: PhoneLeg, given: dict[str, Any]) -> str:
        goodbye = given.get("goodbye")
        if isinstance(goodbye, str) and goodbye.strip():
            await self._until_quiet()
            try:
                self._line.say(goodbye.strip())
            except CallerError as error:
                raise ToolError(f"The goodbye could not be said: {error}") from error
        await self._until_quiet()
        log.info("the assistant hangs up")
        self._line.end("the assistant hung up")
        return "The call is over."

    async def _transfer(self, leg: PhoneLeg, given: dict[str, Any]) -> str:
        target = self._targets.get(str(given.get("target")))
        if target is None:
            raise ToolError(f"target is one of {', '.join(self._targets)}.")
        await self._until_quiet()
        await leg.transfer(target.to)
        log.info("the assistant transferred the caller", extra={"target": target.name})
        self._line.end("transferred")
        return f"The caller was handed on to {target.name}."

    async def _send_digits(self, leg: PhoneLeg, given: dict[str, Any]) -> str:
        digits = str(given.get("digits", "")).upper().replace(" ", "")
        if not digits or len(digits) > MAX_DIGITS or not DIGITS.issuperset(digits):
            raise ToolError(f"digits are 1 to {MAX_DIGITS} of 0-9, * and #.")
        # A menu goes on speaking until a key is pressed.
        await self._line.until_said()
        await leg.send_digits(digits)
        return f"The keys {digits} were pressed."

    async def _until_quiet(self) -> None:
        """Until what was said has been heard, and the far side is quiet, or does not mean to be."""
        await self._line.until_said()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._line.until_heard()

    def _transfer_tool(self) -> Tool:
        told = [
            f"{target.name}: {target.description}" if target.description else target.name
            for target in self._targets.values()
        ]
        target = {"type": "string", "enum": list(self._targets), "description": "; ".join(told)}
        return Tool(
            "transfer_call",
            "Hands the caller on to somebody else. Say beforehand that you connect them.",
            _schema(required=("target",), target=target),
        )


def _schema(*, required: tuple[str, ...] = (), **properties: dict[str, Any]) -> str:
    return json.dumps({"type": "object", "properties": properties, "required": list(required)})


_HANG_UP: Final = Tool(
    "hang_up",
    "Ends the telephone call, when the caller has said goodbye or wants nothing more.",
    _schema(
        goodbye={"type": "string", "description": "What to say before; leave it out if it has been said."}
    ),
    silent=True,
)
_SEND_DIGITS: Final = Tool(
    "send_digits",
    "Presses keys of the telephone, as a menu of the other side asks for.",
    _schema(required=("digits",), digits={"type": "string", "description": "The keys, one after the other."}),
    silent=True,
)


def _object_in(arguments: str) -> dict[str, Any]:
    try:
        given = json.loads(arguments or "{}")
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}.") from error
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ToolError("The arguments are not a JSON object.")
    return given

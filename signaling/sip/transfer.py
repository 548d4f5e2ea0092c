"""A blind transfer (RFC 3515): the far side is asked to call somebody else, and tells what became of it."""

from __future__ import annotations

import asyncio
from typing import Final

from sipmessage import URI, Parameters, Request

from media.errors import ToolError
from signaling.sip.bodies import outcome_of
from signaling.sip.dialog_requests import DialogGone, DialogRequests
from signaling.sip.errors import BadMessage
from signaling.sip.fields import format_uri, parse_address, split_parameters

_OUTCOME_LIMIT_S: Final = 40.0
"""A far side that has said nothing of the transfer's outcome by then never will."""


class Transfer:
    """One transfer. `run` it once.

    Attributes:
        accepted: the far side set about it. Nothing stops it then, whether or not somebody waits.
        reached: the target was.

    Args:
        target: whom the far side is to call: a URI, or a number.
    """

    def __init__(self, target: str) -> None:
        self.accepted = False
        self.reached = False
        self._target = target
        self._outcome: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def run(self, requests: DialogRequests) -> None:
        """Asks for it; returns when the target was reached.

        Raises:
            ToolError: it was not, or nobody knows.
        """

        def fill(request: Request) -> None:
            request.headers.set("Refer-To", f"<{_referred(self._target, request)}>")
            request.headers.set("Referred-By", f"<{_address(request.headers['From'])}>")

        try:
            _, response = await requests.send("REFER", fill)
        except (DialogGone, BadMessage) as error:
            raise ToolError("The call is over.") from error
        if not 200 <= response.code < 300:
            raise ToolError(f"The far side refuses to transfer the call ({response.code}).")
        self.accepted = True
        try:
            async with asyncio.timeout(_OUTCOME_LIMIT_S):
                code = await self._outcome
        except TimeoutError:
            raise ToolError("The far side does not say what became of the transfer.") from None
        if code is None:
            raise ToolError("The far side gave up the transfer without a word.")
        if code >= 300:
            raise ToolError(_sentence(code))

    def notified(self, notify: Request) -> bool:
        """Takes the far side's report. Returns whether it is one.

        Raises:
            BadMessage: it cannot be read.
        """
        if split_parameters(notify.headers.get("Event", "") or "")[0].lower() != "refer":
            return False
        code = outcome_of(notify)
        state = split_parameters(notify.headers.get("Subscription-State", "") or "")[0].lower()
        if code is not None and code >= 200:
            self.reached = code < 300
            self._settle(code)
        elif state == "terminated":
            self._settle(None)
        return True

    def call_ended(self, *, by_far_side: bool) -> None:
        """The call ended before the report came: a far side that agreed, and hung up, has gone there."""
        self._settle(200 if by_far_side else None)

    def _settle(self, code: int | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(code)


def _referred(target: str, request: Request) -> str:
    """The URI of whom to call. A number is one at the far side's: few take `tel:`, and none a number alone.

    Raises:
        BadMessage: the far side's own address cannot be read.
    """
    if not target.startswith("+"):
        return target
    home = parse_address(request.headers["To"]).uri
    if home.scheme == "tel" or home.host.endswith(".invalid"):
        home = request.uri
    return format_uri(URI(home.scheme, home.host, target, None, home.port, Parameters(user="phone")))


def _address(header: str) -> str:
    """The URI within a From, as it stands there."""
    return header.partition("<")[2].partition(">")[0] or header.partition(";")[0].strip()


def _sentence(code: int) -> str:
    match code:
        case 486 | 600:
            return "The line that the call was to be transferred to is busy."
        case 408 | 480 | 487:
            return "Nobody answers where the call was to be transferred to."
        case 404 | 410 | 484 | 604:
            return "There is no such number to transfer the call to."
        case 403 | 603:
            return "The transfer was declined."
        case _:
            return f"The transfer failed ({code})."

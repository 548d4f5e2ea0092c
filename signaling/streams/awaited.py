"""What is kept for a provider between two of its requests, for a short while.

For the stream of a call that was answered, and for the question what to do when that has ended.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from media.errors import ToolError
from signaling.api_keys import digest
from signaling.phone.leg import Admission
from signaling.streams.wire import Answered

STREAM_WITHIN_S: Final = 20.0
"""After a call was answered, its stream comes within so long."""
ASKS_WITHIN_S: Final = 10.0
"""After a stream has ended, the provider asks within so long what is next."""
MOST_ANSWERED: Final = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Awaited:
    answered: Answered
    admission: Admission
    timer: asyncio.TimerHandle
    token: bytes | None


class AwaitedStreams:
    """Calls that were answered, whose streams are still to come: each has its slot already."""

    def __init__(self) -> None:
        self._by_ref: OrderedDict[str, _Awaited] = OrderedDict()
        self._ref_of_token: dict[bytes, str] = {}
        """By the tokens' digests: how long a look takes tells nothing of a token."""

    def expect(self, answered: Answered, admission: Admission, *, signed: bool) -> str:
        """Keeps the slot for the call's stream. Returns the token that proves that it is it.

        Args:
            answered: the call.
            admission: its slot; given back where no stream comes.
            signed: the stream will prove it otherwise; the token is worth nothing.
        """
        self._drop(answered.call_ref)
        if len(self._by_ref) >= MOST_ANSWERED:
            self._drop(next(iter(self._by_ref)))
        token = secrets.token_urlsafe(24)
        key = None if signed else digest(token)
        timer = asyncio.get_running_loop().call_later(STREAM_WITHIN_S, self._is_overdue, answered.call_ref)
        self._by_ref[answered.call_ref] = _Awaited(answered, admission, timer, key)
        if key is not None:
            self._ref_of_token[key] = answered.call_ref
        return token

    def redeem(self, token: str) -> Answered | None:
        """The call whose stream comes with the token, for the first time; None for any other."""
        ref = self._ref_of_token.pop(digest(token), None)
        awaited = self._by_ref.get(ref) if ref is not None else None
        return awaited.answered if awaited is not None else None

    def admission(self, call_ref: str) -> Admission | None:
        """The slot that was kept for the call, if there is one; from now on it is the stream's."""
        awaited = self._by_ref.pop(call_ref, None)
        if awaited is None:
            return None
        self._forget(awaited)
        return awaited.admission

    def _is_overdue(self, call_ref: str) -> None:
        # Where that is so with all calls, WebSockets may not find their way here.
        log.warning("the stream of a call that was answered did not come")
        self._drop(call_ref)

    def _drop(self, call_ref: str) -> None:
        awaited = self._by_ref.pop(call_ref, None)
        if awaited is not None:
            self._forget(awaited)
            awaited.admission.release()

    def _forget(self, awaited: _Awaited) -> None:
        awaited.timer.cancel()
        if awaited.token is not None:
            self._ref_of_token.pop(awaited.token, None)


class Transfers:
    """Calls that are to be handed on when their provider asks what is next."""

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[str, asyncio.Event]] = {}

    async def ask(self, call_ref: str, target: str) -> None:
        """Has the call handed on; returns when the provider was told.

        Raises:
            ToolError: it did not ask in time.
        """
        told = asyncio.Event()
        self._wanted[call_ref] = (target, told)
        try:
            async with asyncio.timeout(ASKS_WITHIN_S):
                await told.wait()
        except TimeoutError:
            raise ToolError("The call could not be transferred: its carrier did not ask for it.") from None
        finally:
            self._wanted.pop(call_ref, None)

    def target(self, call_ref: str) -> str | None:
        """Whom the call is to be joined to; None: to nobody."""
        target, told = self._wanted.get(call_ref, (None, None))
        if told is not None:
            told.set()
        return target

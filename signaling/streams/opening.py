"""How a stream becomes a call: it says whose it is, gets a slot, and is handed over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from media.errors import CallerError
from media.opus import OpusSettings
from signaling.phone.leg import Admission, Switchboard
from signaling.streams.leg import StreamLeg, StreamSocket, Transfer
from signaling.streams.wire import BadMessage, Began, Ended, Wire

BEGINS_WITHIN_S: Final = 10.0
"""A stream that has not said whose it is by then is none."""
MOST_MESSAGES_BEFORE: Final = 20

log = logging.getLogger(__name__)


async def carry(
    socket: StreamSocket,
    wire: Wire,
    switchboard: Switchboard,
    *,
    ahead_s: float,
    opus: OpusSettings | None = None,
    kept: Callable[[str], Admission | None] = lambda call_ref: None,
    transfer: Callable[[str], Transfer] | None = None,
) -> None:
    """One stream, from its first message until its call is over. Closes the socket, whatever happens.

    Args:
        socket: open.
        wire: its protocol, new.
        switchboard: takes the call.
        ahead_s: how long before it is due the voice is sent.
        opus: how Opus is encoded.
        kept: the slot that the call of this name has already, if it has one.
        transfer: how a call of this name is handed on, where its provider asks what is next.
    """
    try:
        began = await _beginning(socket, wire)
        if began is None:
            return
        admission = kept(began.call_ref) or switchboard.admit()
        hands_on = transfer(began.call_ref) if transfer is not None and began.asks_after else None
        leg = StreamLeg(socket, wire, began, ahead_s=ahead_s, opus=opus, transfer=hands_on)
        over = admission.start(leg)
        await over.wait()
    except CallerError as error:
        log.warning("a stream was refused", extra={"carrier": wire.carrier, "code": error.code})
        if (goodbye := wire.hang_up()) is not None:
            await socket.send(goodbye)
    finally:
        await socket.close()


async def _beginning(socket: StreamSocket, wire: Wire) -> Began | None:
    """How the stream begins; None where it does not."""
    try:
        async with asyncio.timeout(BEGINS_WITHIN_S):
            for _ in range(MOST_MESSAGES_BEFORE):
                message = await socket.receive()
                if message is None:
                    return None
                try:
                    event = wire.read(message)
                except BadMessage as error:
                    log.warning("a message of a stream was not understood", extra={"error": str(error)})
                    continue
                if isinstance(event, Began):
                    return event
                if isinstance(event, Ended):
                    return None
    except TimeoutError:
        pass
    log.warning("a stream did not begin", extra={"carrier": wire.carrier})
    return None

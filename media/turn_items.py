"""The caller's turns as items of the conversation, and what is told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from media.engines.protocols import Transcript
from media.errors import EngineError
from media.events import (
    CallEvent,
    CallFault,
    IdleTimedOut,
    InputCommitted,
    ItemAdded,
    ItemDone,
    TranscriptCompleted,
    TranscriptFailed,
)
from media.history import History
from media.items import ItemStatus, Message, Part, new_id
from media.session import SessionConfig

SILENCE_REMARK = "(I have not said anything for a while.)"
"""What the LLM is shown of a silence that it shall break."""

log = logging.getLogger(__name__)


class TurnItems:
    """Enters what the caller says in the history.

    Args:
        history: takes the items.
        notify: told of everything that happens.
    """

    def __init__(self, history: History, notify: Callable[[CallEvent], None]) -> None:
        self._history = history
        self._notify = notify

    def enter(self, item_id: str) -> None:
        """A turn is over; its words are still to come."""
        self._enter(_spoken(item_id, None, "in_progress"))

    def enter_silence(self, idle_timeout_s: float, heard_ms: int) -> None:
        """The caller has said nothing for so long: that is a turn of theirs, too.

        Args:
            idle_timeout_s: for how long.
            heard_ms: how much of their audio was heard by now.
        """
        item = _spoken(new_id("item"), "")
        self._notify(IdleTimedOut(item.id, max(0, heard_ms - round(idle_timeout_s * 1000)), heard_ms))
        before = self._enter(item)
        self._notify(ItemDone(item, before))

    def transcribed(self, session: SessionConfig, item_id: str, transcript: Transcript) -> None:
        """These are a turn's words."""
        told = TranscriptCompleted(item_id, transcript.text, transcript.audio_s)
        self._finish(_spoken(item_id, transcript.text), told if session.transcribe else None)

    def failed(self, session: SessionConfig, item_id: str, error: EngineError) -> None:
        """A turn has no words, and will have none."""
        log.warning("a turn could not be transcribed", extra={"error": str(error), "code": error.code})
        self._finish(_spoken(item_id, None, "incomplete"), transcription_failure(session, item_id, error))

    def _enter(self, item: Message) -> str | None:
        before = self._history.add(item)
        self._notify(InputCommitted(item.id, before))
        self._notify(ItemAdded(item, before))
        return before

    def _finish(self, item: Message, told: CallEvent | None) -> None:
        self._history.put(item)
        if told is not None:
            self._notify(told)
        self._notify(ItemDone(item, self._history.before(item.id)))


def transcription_failure(
    session: SessionConfig, item_id: str, error: EngineError, content_index: int = 0
) -> CallEvent:
    """What is told of it: where no transcripts are expected, only that something failed."""
    if session.transcribe:
        return TranscriptFailed(item_id, str(error), error.code, content_index)
    return CallFault(str(error), error.code)


def _spoken(item_id: str, text: str | None, status: ItemStatus = "completed") -> Message:
    return Message(item_id, "user", (Part("input_audio", text),), status)

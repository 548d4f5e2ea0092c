"""Events of one streamed transcript, as OpenAI, vLLM and Speaches send them, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from media.engines.openai_events import event_of
from media.engines.openai_faults import STT, EndpointFault


class TranscriptStream:
    """What came of one transcript so far.

    Its pieces are not told one by one: they are one and the same hypothesis, and interim words count as
    settled once two agree.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._whole: str | None = None
        self._done = False
        self.language: str | None = None
        """As detected; None where it is not said."""

    @property
    def done(self) -> bool:
        """Nothing more will come."""
        return self._done

    def receive(self, data: str) -> None:
        """One event's data.

        Raises:
            EndpointFault: it tells of one, or is no event of a transcript.
        """
        event = event_of(STT, data)
        if event is None:
            self._done = True
            return
        match event.get("type"):
            case "transcript.text.delta":
                self._pieces.append(_text(event.get("delta")))
            case "transcript.text.done":
                self._whole = _text(event.get("text"))
                language = event.get("language")
                self.language = language if isinstance(language, str) else None
                self._done = True
            case None:
                self._receive_untyped(event)
            case _:
                pass

    def last(self) -> str:
        """The transcript.

        Raises:
            EndpointFault: the stream ended before the transcript did.
        """
        if not self._done:
            raise EndpointFault(f"{STT.endpoint} ended the transcript before its end.", retryable=True)
        return ("".join(self._pieces) if self._whole is None else self._whole).strip()

    def _receive_untyped(self, event: Mapping[str, Any]) -> None:
        """vLLM sends chunks as of a chat, Speaches each segment as a document of its own."""
        choices = event.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                delta = choice.get("delta") if isinstance(choice, Mapping) else None
                if isinstance(delta, Mapping):
                    self._pieces.append(_text(delta.get("content")))
        elif "text" in event:
            self._pieces.append(f" {_text(event['text']).strip()}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

"""What the assistant says when something of ours failed, so that the caller is not left in silence."""

from __future__ import annotations

from collections.abc import Callable

from media.events import CallEvent, ResponseDone


class Apology:
    """Says that an answer will not come, once it is quiet; nothing where an answer comes after all.

    Args:
        sentence: what is said; empty for nothing.
        quiet: whether neither side speaks and nothing is being answered, in a call that answers by itself.
        say: says it.
    """

    def __init__(self, sentence: str, quiet: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._sentence = sentence
        self._quiet = quiet
        self._say = say
        self._owed = False
        self._saying = False

    def owe(self) -> None:
        """The caller will not be answered: a turn of theirs was not understood, or its answer failed."""
        self._owed = bool(self._sentence)

    def answered(self) -> None:
        """An answer to what the caller said is begun after all."""
        self._owed = False

    def note(self, event: CallEvent) -> None:
        """Something was told of the conversation. What is made out of band is no part of it."""
        match event:
            case ResponseDone(response) if response.conversation == "auto":
                # An apology that fails is not apologised for: there is no voice to do it with.
                if response.status == "failed" and not self._saying:
                    self.owe()
                self._saying = False
            case _:
                pass

    def look(self) -> None:
        """It may have become quiet."""
        if self._owed and self._quiet():
            self._owed, self._saying = False, True
            self._say(self._sentence)

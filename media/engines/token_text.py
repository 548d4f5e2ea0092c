"""Text of tokens that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "�"
"""What decoders make of a character whose last bytes are still to come."""


class TokenText:
    """Gives each piece of text as soon as it is certain.

    A token is decoded together with those just before it: on its own it may lose its space, or be half of a
    character.

    Args:
        decode: the text of tokens, without special ones.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._told = 0
        """How many of the tokens have been told as text."""

    def push(self, token: int) -> str:
        """What it adds; nothing where it ends amid a character."""
        self._tokens.append(token)
        told, text = self._decode(self._tokens[: self._told]), self._decode(self._tokens)
        if text.endswith(_INCOMPLETE):
            return ""
        # From here on only these are needed.
        self._tokens = self._tokens[self._told :]
        self._told = len(self._tokens)
        return text[len(told) :]

    def finish(self) -> str:
        """What was still held back; of a character that never became whole, nothing."""
        told, text = self._decode(self._tokens[: self._told]), self._decode(self._tokens)
        return text[len(told) :].rstrip(_INCOMPLETE)

"""The keys and values that a language model on torch keeps of several conversations, one slot each.

A slot's tokens lie from its beginning on, whatever the other slots hold. A step takes some slots and some new
tokens of each: these are written behind what is there, and attend to it by a mask. So conversations of
different lengths meet in one forward pass, none is ever moved, and what was read of one stays read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

_WORTH_COPYING = 16
"""From so many tokens on, what another slot begins with alike is copied and not read again."""


class KvSlots(Cache):  # type: ignore[misc]
    """Satisfies what transformers' attention layers ask of a cache.

    Args:
        slots: how many.
        context_tokens: the longest conversation.
    """

    def __init__(self, slots: int, context_tokens: int) -> None:
        super().__init__(layers=[])
        self._slots = slots
        self._context_tokens = context_tokens
        self._keys: dict[int, Any] = {}
        self._values: dict[int, Any] = {}
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self._rows: Any = slice(0, 0)
        self._written: Any = None
        self._length = 0

    def enter(self, slot: int, tokens: Sequence[int]) -> int:
        """Prepares a slot for these tokens: forgets what it holds beyond those that it begins with alike.

        Returns:
            how many of them need not be read; at least the last one has to, for what follows it.
        """
        held, most = self._held[slot], len(tokens) - 1
        alike = _alike(held, tokens, most)
        best = max(range(self._slots), key=lambda other: _alike(self._held[other], tokens, most))
        best_alike = _alike(self._held[best], tokens, most)
        del held[alike:]
        if best_alike - alike >= _WORTH_COPYING:
            for layer in (*self._keys.values(), *self._values.values()):
                layer[slot, :, alike:best_alike] = layer[best, :, alike:best_alike]
            held.extend(tokens[alike:best_alike])
        return len(held)

    def aim(self, slots: Sequence[int], widths: Sequence[int], width: int, device: str) -> tuple[Any, Any]:
        """What the next forward pass is about.

        Args:
            slots: one a row, none twice.
            widths: how many new tokens each row has. They stand at the row's right end.
            width: of all rows, the largest of these.
            device: of the model.

        Returns:
            the tokens' positions, (rows, width), and which keys each may attend to, as an additive mask
            without its type: True where it may, (rows, 1, width, keys).
        """
        held = torch.tensor([len(self._held[slot]) for slot in slots], device=device)
        new = torch.tensor(list(widths), device=device)
        columns = torch.arange(width, device=device)
        positions = held[:, None] + new[:, None] - width + columns
        is_token = columns >= (width - new)[:, None]
        # What fills a row up is written behind all conversations, where nobody looks.
        self._written = torch.where(is_token, positions, self._context_tokens)
        self._length = max(len(self._held[slot]) + n for slot, n in zip(slots, widths, strict=True))
        first, last = slots[0], slots[-1]
        in_a_row = list(slots) == list(range(first, last + 1))
        self._rows = slice(first, last + 1) if in_a_row else torch.tensor(list(slots), device=device)
        positions = positions.clamp(min=0)
        may_attend = torch.arange(self._length, device=device) <= positions[:, :, None]
        return positions, may_attend[:, None]

    def aim_at(self, rows: Any, written: Any, keys: int) -> None:
        """What the next forward pass is about, where its shapes are given, and what may be attended to is
        the caller's to say.

        Args:
            rows: the slots, as what indexes them: a slice, or (rows,) on the device.
            written: where each new token is written, (rows, width). Behind all conversations, at
                `context_tokens`, nobody looks.
            keys: how many of each slot are given back.
        """
        self._rows, self._written, self._length = rows, written, keys

    def held(self, slot: int) -> int:
        """How many tokens are in a slot."""
        return len(self._held[slot])

    def wrote(self, slot: int, tokens: Sequence[int]) -> None:
        """The forward pass has come to its end: these tokens are in the slot."""
        self._held[slot].extend(tokens)

    def update(
        self, key_states: Any, value_states: Any, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Any, Any]:
        """One layer's new keys and values, (rows, heads, width, size): written, and given back with all that
        was there, in (rows, heads, keys, size)."""
        if layer_idx not in self._keys:
            self._keys[layer_idx] = self._empty(key_states)
            self._values[layer_idx] = self._empty(value_states)
        return (
            self._write(self._keys[layer_idx], key_states),
            self._write(self._values[layer_idx], value_states),
        )

    @property
    def tensors(self) -> tuple[Any, ...]:
        """All slots, of each layer."""
        return (*self._keys.values(), *self._values.values())

    def __len__(self) -> int:
        """How many layers. Never none: nobody should take it for no cache at all."""
        return max(1, len(self._keys))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many keys the current pass sees. Positions and masks are ours: nothing depends on it."""
        return self._length

    def _empty(self, states: Any) -> Any:
        _, heads, _, size = states.shape
        return states.new_zeros(self._slots, heads, self._context_tokens + 1, size)

    def _write(self, layer: Any, states: Any) -> Any:
        if isinstance(self._rows, slice):
            at = self._written[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
            layer[self._rows].scatter_(2, at, states)
        else:
            layer[self._rows[:, None], :, self._written] = states.transpose(1, 2)
        return layer[self._rows, :, : self._length]  # a view where they stand side by side, else a copy


def _alike(held: Sequence[int], tokens: Sequence[int], most: int) -> int:
    """With how many equal tokens the two begin, up to `most`."""
    for at, (one, other) in enumerate(zip(held, tokens, strict=False)):
        if at == most or one != other:
            return at
    return min(len(held), most)

"""Steps of a language model on torch: some tokens of several conversations, one forward pass.

Where replies go on, each conversation has one new token, and what differs are the numbers: such a step can be
recorded. A few conversations are then gathered out of their slots; of many, all slots are computed, which
copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from media.engines.kv_slots import KvSlots
from media.engines.torch_recording import Record, RecordedStep, at_least, recorded
from media.errors import EngineError

_FEWEST_KEYS = 256
"""Recorded steps look back on so many tokens, or twice, four times … as many."""

_UNLIKELY = 0.05
"""Words of less than this share of the likeliest one's probability are never drawn ("min-p", Nguyen et al.
2024): small models stay on their feet, warm ones stay lively."""


@dataclass(eq=False, slots=True)
class Reading:
    """One conversation that is being read, and perhaps replied to.

    Attributes:
        slot: its own while it is read.
        tokens: all of it; whoever goes on appends what it was answered.
        temperature: for the next token; 0 takes the likeliest.
        read: how many of its tokens are in the slot. -1: nobody has looked yet.
        cached: how many were there before.
    """

    slot: int
    tokens: list[int]
    temperature: float
    read: int = -1
    cached: int = 0

    @property
    def is_prompt(self) -> bool:
        """More than one token is to be read, or nobody knows yet."""
        return self.read < 0 or len(self.tokens) - self.read > 1

    @property
    def is_read(self) -> bool:
        return self.read == len(self.tokens)


class SlotDecoder:
    """A model with its slots. Its steps run one at a time.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        device: where it is.
        slots: conversations that stay read.
        context_tokens: the longest of them.
        chunk_tokens: so many tokens of a prompt are read in one step; then others have their turn.
        record: how the steps of replies are recorded (see `warm_up`); None: they are not.
    """

    def __init__(
        self,
        model: Any,
        device: str,
        *,
        slots: int,
        context_tokens: int,
        chunk_tokens: int,
        record: Record | None = None,
    ) -> None:
        self._model = model
        self._device = device
        self._chunk_tokens = chunk_tokens
        self._kv = KvSlots(slots, context_tokens)
        self._hidden = torch.finfo(model.dtype).min
        self._slots = slots
        self._context_tokens = context_tokens
        self._gathered = _doubled(1, slots // 4)
        """How many rows a step has that is not of all slots."""
        self._keys = [*_doubled(_FEWEST_KEYS, context_tokens - 1), context_tokens]
        self._next = RecordedStep(self._next_scores, record)

    @property
    def tensors(self) -> Iterator[Any]:
        """The model's, and its slots'."""
        yield from self._model.parameters()
        yield from self._model.buffers()
        yield from self._kv.tensors

    @property
    def recorded_step(self) -> RecordedStep:
        """Of replies that go on."""
        return self._next

    def warm_up(self) -> None:
        """Has the steps of replies recorded, for any number of them and any length. Where that fails, it is
        logged, and they are computed as they are. Nothing may be under way, but something has been read."""
        recorded("transformers", [self._next], self._record_all)

    def _record_all(self) -> None:
        nothing = [0, 0, self._context_tokens, 0]
        with torch.inference_mode():
            for keys in self._keys:
                for rows in (*self._gathered, self._slots):
                    is_all = rows == self._slots and rows not in self._gathered
                    self._next((is_all, keys), self._on_device([nothing] * rows))

    def step(self, readings: Sequence[Reading]) -> list[int | Exception | None]:
        """Reads on in each of these conversations.

        Returns:
            for each the token that follows it; None where it is not read to its end yet; what went wrong
            with it alone.
        """
        order = sorted(readings, key=lambda reading: reading.slot)
        with torch.inference_mode():
            for reading in order:
                if reading.read < 0:
                    reading.read = reading.cached = self._kv.enter(reading.slot, reading.tokens)
            new = [reading.tokens[reading.read : reading.read + self._chunk_tokens] for reading in order]
            logits = self._forward([reading.slot for reading in order], new)
            for reading, tokens in zip(order, new, strict=True):
                self._kv.wrote(reading.slot, tokens)
                reading.read += len(tokens)
            following = self._following(logits, [reading.temperature for reading in order])
        answers = {
            reading.slot: token if reading.is_read else None
            for reading, token in zip(order, following, strict=True)
        }
        return [answers[reading.slot] for reading in readings]

    def _forward(self, slots: Sequence[int], new: Sequence[Sequence[int]]) -> Any:
        """The scores of what follows each row's last token: (rows, vocabulary), float32."""
        widths = [len(tokens) for tokens in new]
        width = max(widths)
        if width == 1 and self._next.recordings:
            return self._forward_one(slots, [token for (token,) in new])
        positions, may_attend = self._kv.aim(slots, widths, width, self._device)
        rows = [[0] * (width - len(tokens)) + list(tokens) for tokens in new]
        mask = torch.zeros(may_attend.shape, dtype=self._model.dtype, device=self._device)
        output = self._model(
            input_ids=torch.tensor(rows, device=self._device),
            attention_mask=mask.masked_fill_(~may_attend, self._hidden),
            position_ids=positions,
            cache=self._kv,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _forward_one(self, slots: Sequence[int], tokens: Sequence[int]) -> Any:
        """The same, of one new token each, as it was recorded."""
        held = [self._kv.held(slot) for slot in slots]
        rows = [[token, at, at, slot] for token, at, slot in zip(tokens, held, slots, strict=True)]
        keys = at_least(max(held) + 1, self._keys)
        is_all = len(slots) > (self._gathered[-1] if self._gathered else 0)
        if is_all:
            nothing = [0, 0, self._context_tokens, 0]
            by_slot = dict(zip(slots, rows, strict=True))
            rows = [by_slot.get(slot, nothing) for slot in range(self._slots)]
        else:  # a row too many writes where nobody looks
            nothing = [0, 0, self._context_tokens, slots[0]]
            rows += [nothing] * (at_least(len(rows), self._gathered) - len(rows))
        scores = self._next((is_all, keys), self._on_device(rows))
        return scores[list(slots)] if is_all else scores[: len(slots)]

    def _next_scores(self, fixed: tuple[bool, int], rows: Any) -> Any:
        """What is recorded: of tensors alone, and of what does not vary within a recording.

        Args:
            fixed: whether the rows are those of all slots, in their order; how many keys are looked at.
            rows: of each its token, its position, where it is written, and its slot: (rows, 4).
        """
        is_all, keys = fixed
        tokens, positions, written, slots = rows[:, :, None].unbind(1)
        self._kv.aim_at(slice(0, self._slots) if is_all else slots[:, 0], written, keys)
        hidden = torch.arange(keys, device=rows.device) > positions
        mask = torch.zeros((rows.shape[0], 1, 1, keys), dtype=self._model.dtype, device=rows.device)
        output = self._model(
            input_ids=tokens,
            attention_mask=mask.masked_fill(hidden[:, None, None], self._hidden),
            position_ids=positions,
            cache=self._kv,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _on_device(self, rows: Sequence[Sequence[int]]) -> Any:
        return torch.tensor(rows, device=self._device)

    def _following(self, logits: Any, temperatures: Sequence[float]) -> list[int | Exception]:
        # Of words that are never to be said, a score may be minus infinity; not of the likeliest.
        broken = logits.isnan().any(dim=-1) | logits.amax(dim=-1).isinf()
        tokens = logits.argmax(dim=-1)
        if any(temperatures):
            warmth = torch.tensor(list(temperatures), device=self._device)
            is_warm = (warmth > 0) & ~broken
            scaled = torch.where(is_warm, 1 / warmth.clamp(min=1e-3), 1.0)[:, None] * logits.nan_to_num()
            likely = scaled.softmax(dim=-1)
            likely = likely.masked_fill(likely < _UNLIKELY * likely.amax(dim=-1, keepdim=True), 0.0)
            tokens = torch.where(is_warm, torch.multinomial(likely, 1)[:, 0], tokens)
        return [
            EngineError("The language model's scores are no numbers.", code="engine_garbage")
            if is_broken
            else token
            for token, is_broken in zip(tokens.tolist(), broken.tolist(), strict=True)
        ]


def _doubled(first: int, most: int) -> list[int]:
    """`first`, twice and four times as many … up to `most`."""
    sizes = []
    while first <= most:
        sizes.append(first)
        first *= 2
    return sizes

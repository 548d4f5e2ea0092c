"""Steps of a language model on torch: some tokens of several conversations, one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from media.engines.kv_slots import KvSlots
from media.errors import EngineError

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
    """

    def __init__(
        self, model: Any, device: str, *, slots: int, context_tokens: int, chunk_tokens: int
    ) -> None:
        self._model = model
        self._device = device
        self._chunk_tokens = chunk_tokens
        self._kv = KvSlots(slots, context_tokens)
        self._hidden = torch.finfo(model.dtype).min

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

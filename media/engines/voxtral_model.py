"""Voxtral on transformers: a batch of prompts with their recordings to text. Blocking.

Every window costs a pass of the encoder over 30 s and 375 tokens of prompt, however short the speech in it:
shapes hardly vary, and recordings of any length and language share a batch, padded on the left.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    BitsAndBytesConfig,
    StoppingCriteria,
    StoppingCriteriaList,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

from media.clock import thread_time_s
from media.engines.backend_failures import is_out_of_memory
from media.engines.batcher import aged
from media.engines.hub_model import config_of, load_from_hub, whole
from media.engines.inference import Urgency
from media.engines.repetition import cut_repetition, runs_in_circles
from media.engines.torch_device import TorchPlace, give_back_gpu_memory
from media.engines.voxtral_audio import MEL_BANDS, WINDOW_FRAMES
from media.engines.voxtral_prompt import VoxtralPrompts
from media.errors import EngineError

SETTING = "model.name"

_LOOK_EVERY_TOKENS = 8
"""How often it is looked whether a decoder goes round in circles: that waits for the GPU."""

_STATIC_PROMPT_TOKENS = 400
_STATIC_CACHE_TOKENS = 1152
"""Of compiled decoding: one window with its longest transcript, so that shapes do not vary."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class VoxtralRow:
    """A recording and what is asked about it.

    Attributes:
        prompt: token ids.
        windows: log-mel, shape (windows, 128, 3000).
        max_tokens: the answer ends there.
        urgency: a batch that nobody waits for gives way, until it has done so for too long.
        since_s: it has been waited for since then.
        unwanted: nobody wants the answer any more. Set while the row is computed, from another thread.
    """

    prompt: list[int]
    windows: npt.NDArray[np.float32]
    max_tokens: int
    urgency: Urgency = Urgency.NOW
    since_s: float = field(default_factory=thread_time_s)
    unwanted: bool = False


class VoxtralModel:
    """A loaded model. Takes one caller at a time.

    Args:
        model: a hub's repository, or a directory with `config.json`, weights and `tekken.json`.
        place: where to compute.
        load_in_4bit: weights of 4 bits, by bitsandbytes: a third of the memory.
        compiled: decode by CUDA graphs, over a cache of constant size. Nothing on a CPU.

    Attributes:
        prompts: makes prompts for it.

    Raises:
        ModelMissing: the model is not there.
        EngineError: it cannot be loaded, or not here.
    """

    def __init__(self, model: str, place: TorchPlace, *, load_in_4bit: bool, compiled: bool) -> None:
        self.place = place
        self._compiled = compiled and place.is_cuda
        if load_in_4bit:
            _require_4bit(place)
        audio_token = _audio_token(model)
        tokenizer: Any = load_from_hub(model, SETTING, MistralCommonBackend.from_pretrained)
        self._tokenizer = tokenizer
        self._model: Any = load_from_hub(model, SETTING, lambda where: _load(where, place, load_in_4bit))
        self._pad_token = int(tokenizer.pad_token_id)
        self.prompts = VoxtralPrompts(tokenizer.tokenizer, audio_token)

    @property
    def tensors(self) -> Iterator[Any]:
        """The weights."""
        yield from self._model.parameters()
        yield from self._model.buffers()

    def close(self) -> None:
        self._model = None
        give_back_gpu_memory()

    def warm_up(self, row: VoxtralRow, largest: int) -> None:
        """Computes what will be computed, so that the first caller does not wait for it."""
        sizes = _bucket_sizes(largest) if self._compiled else [1]
        for size in sizes:
            try:
                self.answers([row] * size)
            except (RuntimeError, AssertionError) as error:  # torch's compiler is not particular
                if not self._compiled or is_out_of_memory(error):
                    raise
                reason = str(error).strip() or type(error).__name__
                log.warning("Voxtral is not compiled", extra={"error": reason.splitlines()[0]})
                self._compiled = False
                self.answers([row])
                return

    def answers(
        self, rows: Sequence[VoxtralRow], pressed: Callable[[], bool] = lambda: False
    ) -> list[str | None]:
        """What is said to each row; None where the batch gave way.

        Args:
            rows: at least one.
            pressed: whether something more urgent waits, asked between two tokens. A batch of nothing but
                partial transcripts ends then.
        """
        batch = [*rows, *self._filling(rows)]
        ends = _RowEnds(batch, pressed, self._pad_token)
        with torch.inference_mode():
            tokens = self._generate(batch, ends)
        return [
            None if ends.gave_way and not row.unwanted else self._text(tokens[at], ends, at)
            for at, row in enumerate(rows)
        ]

    def _text(self, tokens: list[int], ends: _RowEnds, at: int) -> str:
        said = self._tokenizer.decode(tokens[: ends.at_token[at]], skip_special_tokens=True).strip()
        return cut_repetition(said) if at in ends.in_circles else said

    def _generate(self, rows: Sequence[VoxtralRow], ends: _RowEnds) -> list[list[int]]:
        longest = max(len(row.prompt) for row in rows)
        most = max(row.max_tokens for row in rows)
        # What is longer is rare. It would be compiled for its own length; and a static cache, once it has
        # grown, stays as large for every batch after it.
        compiled = (
            self._compiled
            and longest <= _STATIC_PROMPT_TOKENS
            and _STATIC_PROMPT_TOKENS + most <= _STATIC_CACHE_TOKENS
        )
        if compiled:
            longest = _STATIC_PROMPT_TOKENS
        prompts = [[self._pad_token] * (longest - len(row.prompt)) + row.prompt for row in rows]
        masks = [[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
        ends.prompt_tokens = longest
        device = self.place.device
        windows = torch.from_numpy(np.concatenate([row.windows for row in rows]))
        static = {"cache_implementation": "static", "max_cache_len": _STATIC_CACHE_TOKENS} if compiled else {}
        out = self._model.generate(
            input_ids=torch.tensor(prompts, device=device),
            attention_mask=torch.tensor(masks, device=device),
            input_features=windows.to(device=device, dtype=self.place.dtype),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=self._pad_token,
            stopping_criteria=StoppingCriteriaList([ends]),
            disable_compile=not compiled,
            **static,
        )
        answers: list[list[int]] = out[:, longest:].tolist()
        return answers

    def _filling(self, rows: Sequence[VoxtralRow]) -> list[VoxtralRow]:
        """Rows that make a batch as large as one that was compiled."""
        if not self._compiled:
            return []
        size = next(size for size in _bucket_sizes(2 * len(rows)) if size >= len(rows))
        silence = np.full((1, MEL_BANDS, WINDOW_FRAMES), -1.5, np.float32)
        prompt = self.prompts.transcription(1, None)
        return [VoxtralRow(prompt, silence, 1, unwanted=True) for _ in range(size - len(rows))]


@dataclass(eq=False)
class _RowEnds(StoppingCriteria):  # type: ignore[misc]
    """Ends each row where it has said enough, and where nobody listens any more.

    Attributes:
        pad_token: behind rows that have ended.
        prompt_tokens: before the answer.
        at_token: where each row ended.
        in_circles: rows that ended since they repeated themselves.
        gave_way: the batch ended since something else waits.
    """

    rows: Sequence[VoxtralRow]
    pressed: Callable[[], bool]
    pad_token: int
    prompt_tokens: int = 0
    at_token: list[int] = field(init=False)
    in_circles: set[int] = field(default_factory=set)
    gave_way: bool = False

    def __post_init__(self) -> None:
        self.at_token = [row.max_tokens for row in self.rows]
        self._ended = [False] * len(self.rows)

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        written = input_ids.shape[1] - self.prompt_tokens
        if not self.gave_way and self.pressed() and self._nobody_waits():
            self.gave_way = True
        answers = input_ids[:, self.prompt_tokens :].tolist() if written % _LOOK_EVERY_TOKENS == 0 else None
        for at, row in enumerate(self.rows):
            if self._ended[at]:
                continue
            said = answers[at] if answers is not None else []
            circles = said[-1:] != [self.pad_token] and runs_in_circles(said)
            if circles:
                self.in_circles.add(at)
            if circles or row.unwanted or written >= row.max_tokens:
                self._ended[at] = True
                self.at_token[at] = written
        return torch.tensor(
            [ended or self.gave_way for ended in self._ended], dtype=torch.bool, device=input_ids.device
        )

    def _nobody_waits(self) -> bool:
        now_s = thread_time_s()
        return all(
            row.unwanted or aged(row.urgency, now_s - row.since_s) is Urgency.IDLE for row in self.rows
        )


def _bucket_sizes(largest: int) -> list[int]:
    """1, 2, 4 … up to the first that is not smaller than `largest`."""
    sizes = [1]
    while sizes[-1] < largest:
        sizes.append(2 * sizes[-1])
    return sizes


def _audio_token(model: str) -> int:
    """The token in whose places the sound is put.

    Raises:
        ModelMissing, EngineError: as `config_of`, or there is no such token.
    """
    token = config_of(model, SETTING, VoxtralConfig.model_type).get("audio_token_id")
    if not isinstance(token, int):
        raise EngineError(
            f"The model {model} cannot be loaded: its config.json has no audio_token_id. Complete it, "
            f"or set {SETTING} to another.",
            code="model_unfit",
        )
    return token


def _require_4bit(place: TorchPlace) -> None:
    if not place.is_cuda:
        raise EngineError("Weights of 4 bits need an NVIDIA GPU: set model.load_in_4bit to false.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EngineError(
            "Weights of 4 bits need bitsandbytes: run `pip install bitsandbytes`, "
            "or set model.load_in_4bit to false."
        )


def _load(where: str, place: TorchPlace, load_in_4bit: bool) -> Any:
    options = place.loading
    if load_in_4bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=place.dtype,
        )
    return whole(VoxtralForConditionalGeneration, where, SETTING, **options)

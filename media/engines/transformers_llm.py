"""Any chat model of transformers on torch, in this process.

Replies to several calls are written token by token together: their steps meet in one forward pass, each row
with its own length (`kv_slots`). What was read of a conversation stays in its slot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jinja2
import transformers

from media.engines.batcher import BatchCounts, Batcher
from media.engines.chat_prompt import ChatPrompt, ChatPrompts
from media.engines.conversation_slots import Slots
from media.engines.gpu_pool import gave_back, took
from media.engines.hub_model import load_from_hub, whole
from media.engines.inference import InferenceThreads, Urgency
from media.engines.model_files import require_files
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest
from media.engines.slot_decoder import Reading, SlotDecoder
from media.engines.starting import closed_unless_started
from media.engines.token_text import TokenText
from media.engines.tool_call_text import ToolCallText
from media.engines.torch_device import TorchPlace, give_back_gpu_memory, place_of
from media.engines.torch_recording import CudaGraphs
from media.errors import EngineError, ModelMissing

_SETTING = "llm.name"

_CHUNK_TOKENS = {True: 256, False: 32}
"""Prompts are read in steps of so many tokens, on a GPU or not; between them other conversations get their
next token, and an abandoned prompt is dropped."""

_GATHER_S = 0.001
"""Replies whose last step was the same ask for the next one within this time of each other."""

_FIRST_TOKENS = 12
"""So many tokens are about what is waited for in silence. Later ones are written faster than they are heard,
and give way to those of other calls."""

_WHOLE_ATTENTION = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose past is keys and values."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What `start` makes.

    Attributes:
        prompts: of its tokenizer.
        decoder: computes them.
        batcher: joins the steps of its replies.
        ends: tokens at which a reply is over.
        context_tokens: the longest conversation, its reply included.
    """

    prompts: ChatPrompts
    decoder: SlotDecoder
    batcher: Batcher[Reading, int | None]
    ends: frozenset[int]
    context_tokens: int


class TransformersLlm:
    """The model, shared by all calls.

    Args:
        model: the name of a repository on the model hub, a folder, or a GGUF file, whose weights are then
            unpacked: reading it takes as long as its size has it.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        context_tokens: the longest conversation, its reply included; less where the model knows less.
        parallel: replies under way at once, and conversations that stay read; further ones wait, and take
            turns.
        compiled: replies go on by CUDA graphs, on a GPU: quicker, and some seconds of warming up.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        context_tokens: int = 2048,
        parallel: int = 4,
        compiled: bool = False,
    ) -> None:
        self._model = model
        self._device = device
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._compiled = compiled
        self._slots = Slots(parallel)
        self._turns = [asyncio.Lock() for _ in range(parallel)]
        self._wanted = [0] * parallel
        """How many replies wait for each slot, or have it."""
        self._writing = 0
        """Replies that have begun."""
        # A template that does not take a conversation says so, or stumbles over it.
        failures = (RuntimeError, ValueError, LookupError, TypeError, jinja2.TemplateError)
        self._inference = InferenceThreads("transformers", failures=failures)
        # Beside the steps: a prompt is made ready while others are written.
        self._preparing = InferenceThreads("transformers prompts", failures=failures)
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        model = self._model
        return f"transformers ({model.stem if isinstance(model, Path) else model})"

    @property
    def batches(self) -> BatchCounts:
        """The steps so far, and the tokens and pieces of prompts in them."""
        return self._loaded.batcher.counts if self._loaded else BatchCounts(0, 0)

    async def start(self) -> None:
        if self._loaded is not None:
            return
        async with closed_unless_started(self, self._inference, self._preparing):
            self._loaded = await self._inference.run(self._load)
            hello = LlmRequest((ChatMessage("user", "Hello"),), max_tokens=1, temperature=0.0)
            async with aclosing(self.reply(hello)) as deltas:
                async for _ in deltas:
                    pass
            if self._compiled:
                await self._inference.run(self._loaded.decoder.warm_up)
            took(self.name, self._loaded.decoder.tensors)

    async def close(self) -> None:
        await self._preparing.close()
        await self._inference.close()
        if self._loaded is not None:
            self._loaded = None
            gave_back(self.name)
            give_back_gpu_memory()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply. Closing the generator ends it at its current step, and keeps what was read.

        Raises:
            EngineError: `context_full` where the conversation is longer than the context; or the model
                failed.
        """
        loaded = self._loaded
        if loaded is None:
            raise EngineError(f"The engine {self.name} is not started.")
        prompt = await self._preparing.run(partial(loaded.prompts.prompt, request))
        if len(prompt.tokens) >= loaded.context_tokens:
            raise EngineError(
                "The conversation is too long for the language model: "
                f"{len(prompt.tokens)} tokens of {loaded.context_tokens}.",
                code="context_full",
            )
        work = self._write if request.max_tokens else self._read
        async with self._turn(request) as slot:
            reading = Reading(slot, list(prompt.tokens), request.temperature)
            async with aclosing(work(loaded, request, prompt, reading)) as deltas:
                async for delta in deltas:
                    yield delta

    @contextlib.asynccontextmanager
    async def _turn(self, request: LlmRequest) -> AsyncIterator[int]:
        """The conversation's slot, for this request alone."""
        with self._slots.of(request.conversation) as slot, self._wanting(slot, request):
            async with self._turns[slot]:
                yield slot

    @contextlib.contextmanager
    def _wanting(self, slot: int, request: LlmRequest) -> Iterator[None]:
        is_reply = request.max_tokens > 0
        self._wanted[slot] += is_reply
        try:
            yield
        finally:
            self._wanted[slot] -= is_reply

    async def _read(
        self, loaded: _Loaded, request: LlmRequest, prompt: ChatPrompt, reading: Reading
    ) -> AsyncGenerator[LlmDelta, None]:
        """Reads ahead when nobody else wants a step, until a reply wants the slot: then without a delta."""
        while not reading.is_read:
            if self._wanted[reading.slot]:
                return
            await loaded.batcher.run(reading, urgency=Urgency.IDLE, call=request.conversation)
        yield LlmDelta("", "length", input_tokens=len(prompt.tokens), cached_tokens=reading.cached)

    async def _write(
        self, loaded: _Loaded, request: LlmRequest, prompt: ChatPrompt, reading: Reading
    ) -> AsyncGenerator[LlmDelta, None]:
        text = TokenText(loaded.prompts.text_of)
        calls = ToolCallText() if prompt.may_call else None
        if calls is not None:
            for _ in calls.push(prompt.begun):
                raise AssertionError("a call that has begun says nothing yet")
        written, limit = 0, min(request.max_tokens, loaded.context_tokens - len(prompt.tokens))
        finish: Literal["stop", "length", "tool_calls"] | None = None
        self._writing += 1
        try:
            while finish is None:
                urgency = Urgency.NOW if written < _FIRST_TOKENS else Urgency.SOON
                token = await loaded.batcher.run(reading, urgency=urgency, call=request.conversation)
                if token is None:
                    continue
                if token in loaded.ends:
                    piece, finish = text.finish(), "stop"
                else:
                    written += 1
                    reading.tokens.append(token)
                    piece = text.push(token)
                    if written == limit:
                        piece, finish = piece + text.finish(), "length"
                for delta in _deltas(piece, calls, is_last=finish is not None):
                    yield delta
        finally:
            self._writing -= 1
        if calls is not None and calls.has_called:
            finish = "tool_calls"
        yield LlmDelta(
            "",
            finish,
            input_tokens=len(prompt.tokens),
            output_tokens=written,
            cached_tokens=reading.cached,
        )

    def _load(self) -> _Loaded:
        place = place_of(self._device)
        tokenizer, model = self._from_disk(place)
        context_tokens = _context_of(model.config, self._context_tokens)
        decoder = SlotDecoder(
            model,
            place.device,
            slots=self._parallel,
            context_tokens=context_tokens,
            chunk_tokens=_CHUNK_TOKENS[place.is_cuda],
            record=CudaGraphs(place.device) if self._compiled and place.is_cuda else None,
        )
        batcher: Batcher[Reading, int | None] = Batcher(
            self._inference,
            decoder.step,
            largest=self._parallel,
            gather_s=_GATHER_S,
            alike=lambda reading: reading.is_prompt,
            under_way=lambda: self._writing,
        )
        prompts = ChatPrompts(tokenizer, str(self._model))
        return _Loaded(prompts, decoder, batcher, _ends(tokenizer, model), context_tokens)

    def _from_disk(self, place: TorchPlace) -> tuple[Any, Any]:
        """Raises: ModelMissing: there is no such model here or on the hub; EngineError: it cannot be used."""
        source, more = str(self._model), {}
        if isinstance(self._model, Path) and self._model.suffix == ".gguf":
            require_files(self._model)
            source, more = str(self._model.parent), {"gguf_file": self._model.name}
        elif isinstance(self._model, Path) and not (self._model / "config.json").is_file():
            raise ModelMissing(f"The folder {source} holds no model: set llm.name to one with a config.json.")

        def load(where: str) -> tuple[Any, Any]:
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **more)
            kind = transformers.AutoModelForCausalLM
            return tokenizer, whole(kind, where, _SETTING, **place.loading, **more)

        return load_from_hub(source, _SETTING, load)


def _deltas(piece: str, calls: ToolCallText | None, *, is_last: bool) -> Iterator[LlmDelta]:
    if calls is None:
        if piece:
            yield LlmDelta(piece)
        return
    yield from calls.push(piece)
    if is_last:
        yield from calls.finish()


def _context_of(config: Any, wanted: int) -> int:
    """The longest conversation that the model can look back on.

    Raises:
        EngineError: its past is of another kind than keys and values.
    """
    config = config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    if not kinds <= _WHOLE_ATTENTION:
        raise EngineError(
            f"The model's layers are of kinds that are not done here ({', '.join(sorted(kinds))}): "
            "serve it with vLLM and set llm.engine to openai."
        )
    limits = [wanted, getattr(config, "max_position_embeddings", None) or wanted]
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        limits.append(window)  # as long as everything is within it, it makes no difference
    return int(min(limits))


def _ends(tokenizer: Any, model: Any) -> frozenset[int]:
    ends: list[int | None] = [tokenizer.eos_token_id]
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ends += configured if isinstance(configured, list) else [configured]
    return frozenset(end for end in ends if end is not None)

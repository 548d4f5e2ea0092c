"""Any GGUF language model with llama.cpp, in this process.

`xllamacpp` wraps llama.cpp's own server: slots with their prompt caches, continuous batching, chat templates.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import xllamacpp

from media.engines.conversation_slots import Slots
from media.engines.inference import InferenceThreads, Outlet
from media.engines.model_files import damaged, require_files
from media.engines.openai_request import messages_of, tools_of
from media.engines.priority import new_threads_give_way
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCallDelta
from media.engines.signal_handlers import kept_signal_handlers
from media.engines.starting import closed_unless_started
from media.errors import EngineError

_PROMPT_BATCH_TOKENS = 16
"""Prompts are read in steps of so many tokens (0.1 s on one core). Between steps the other conversations
get their next token, and an abandoned prompt is dropped; longer steps are hardly faster on a CPU."""

_NO_PROMPT_CACHE = 0
"""Outside the slots: each conversation has its own, and would not look anywhere else."""

_REUSED_TOKENS = 32
"""What was read stays read where it moves. When old exchanges are left out, llama.cpp rotates the keys of
those that stay to their new positions: 0.2 s where reading 480 tokens anew takes 2.5 to 6. A shorter match
than this is read anew. What stays has been read together with what is gone; replies differ from those after
a fresh reading no more than these differ from replies to the whole. A model without such positions reads
anew."""

_NICENESS = 10
"""A reply is written faster than it is spoken: once its first clause is there, whoever speaks it, or hears
another caller, goes first."""

_SILENT = -1


class LlamaCpp:
    """The model, shared by all calls: replies under way are batched token by token.

    Args:
        model: a GGUF file with a chat template.
        threads: for all replies together. They wait for each other within every token. More than one are a
            gain only where they spin for microseconds, as `server/environment.py` sees to: where they spin
            without end, two on two busy cores make 3 tokens a second, one makes 75.
        context_tokens: the longest conversation, its reply included.
        parallel: replies under way at once, and conversations whose prompt stays read; further ones wait, and
            take turns.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        context_tokens: int,
        parallel: int,
    ) -> None:
        self._model = model
        self._threads = threads
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._slots = Slots(parallel)
        # These threads only wait: llama.cpp computes on its own.
        self._inference = InferenceThreads("llama.cpp", threads=parallel)
        self._server: xllamacpp.Server | None = None
        self._closing = False
        self._replies = 0
        self._no_replies = asyncio.Event()
        self._no_replies.set()

    @property
    def name(self) -> str:
        return f"llama.cpp ({self._model.stem})"

    async def start(self) -> None:
        if self._server is not None:
            return
        self._closing = False
        async with closed_unless_started(self, self._inference):
            self._server = await self._inference.run(self._load)
            hello = LlmRequest((ChatMessage("user", "Hello"),), max_tokens=1, temperature=0.0)
            async for _ in self.reply(hello):
                pass

    async def close(self) -> None:
        self._closing = True  # what is being generated stops at its next token
        await self._inference.close()
        # The last reference: its destructor ends llama.cpp's threads and frees the model, in some 10 ms.
        self._server = None

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply. Closing the generator ends the generation at its next token, and keeps what was
        read of the prompt.

        Raises:
            EngineError: `context_full` where the conversation is longer than the context; or llama.cpp
                failed.
        """
        server = self._server
        if server is None:
            raise EngineError(f"The engine {self.name} is not started.")
        if request.max_tokens == 0:
            yield await self._read(server, request)
            return
        with self._slots.of(request.conversation) as slot, self._replying():
            generate = partial(self._generate, server, request, slot)
            deltas: AsyncGenerator[LlmDelta, None] = self._inference.stream(generate)
            async with contextlib.aclosing(deltas):
                async for delta in deltas:
                    yield delta

    async def _read(self, server: xllamacpp.Server, request: LlmRequest) -> LlmDelta:
        """Reads ahead, whenever no reply is under way: beside one it would slow each of its tokens."""
        while True:
            await self._no_replies.wait()
            with self._slots.of(request.conversation) as slot:
                generate = partial(self._generate, server, request, slot)
                deltas: AsyncGenerator[LlmDelta, None] = self._inference.stream(generate)
                async with contextlib.aclosing(deltas):
                    async for delta in deltas:
                        return delta

    @contextlib.contextmanager
    def _replying(self) -> Iterator[None]:
        self._replies += 1
        self._no_replies.clear()
        try:
            yield
        finally:
            self._replies -= 1
            if not self._replies:
                self._no_replies.set()

    def _load(self) -> xllamacpp.Server:
        require_files(self._model)
        # The server insists on listening for HTTP. A socket file that is gone before anybody can look into
        # its folder is no address.
        with tempfile.TemporaryDirectory(prefix="voxtral-kokoro-") as folder:
            parameters = self._parameters(Path(folder) / "llama.sock")
            try:
                # It also takes SIGINT and SIGTERM, and would end itself where the process should shut down.
                with kept_signal_handlers(signal.SIGINT, signal.SIGTERM), new_threads_give_way(_NICENESS):
                    return xllamacpp.Server(parameters)
            except RuntimeError as error:
                raise damaged(self._model) from error

    def _parameters(self, socket: Path) -> xllamacpp.CommonParams:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._model)
        parameters.verbosity = _SILENT
        parameters.hostnames = [str(socket)]
        parameters.n_threads_http = 1
        parameters.ui = False
        parameters.n_parallel = self._parallel
        parameters.n_ctx = self._context_tokens * self._parallel
        parameters.n_batch = parameters.n_ubatch = max(_PROMPT_BATCH_TOKENS, self._parallel)
        parameters.cache_ram_mib = _NO_PROMPT_CACHE
        parameters.n_cache_reuse = _REUSED_TOKENS
        # On a CPU the plain attention is a fifth faster than the fused one at 600 tokens.
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        # Written on half the threads: two make a token a quarter sooner on quiet cores, half as soon beside
        # a busy one. While a reply begins there is one: the turn's end is judged, the first clause spoken.
        parameters.cpuparams.n_threads = max(1, self._threads // 2)
        parameters.cpuparams_batch.n_threads = self._threads
        for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
            cpu.poll = 0
        return parameters

    def _generate(
        self, server: xllamacpp.Server, request: LlmRequest, slot: int, outlet: Outlet[LlmDelta]
    ) -> None:
        """On a thread of ours, to the reply's end, until the outlet is closed, or a reply wants what is only
        reading ahead to stop: then without a delta."""
        stream = _ReplyStream(outlet)
        gives_way = False

        def receive(event: Mapping[str, Any]) -> bool:
            nonlocal gives_way
            stream.receive(event)
            gives_way = request.max_tokens == 0 and self._replies > 0
            return outlet.closed or self._closing or gives_way

        server.handle_chat_completions(_payload(request, slot), receive)
        if not outlet.closed and not gives_way:
            stream.finish()


class _ReplyStream:
    """llama.cpp's events of one reply, turned into deltas."""

    def __init__(self, outlet: Outlet[LlmDelta]) -> None:
        self._outlet = outlet
        self._finish: Literal["stop", "length", "tool_calls"] | None = None
        self._usage: Mapping[str, Any] = {}
        self._error: Mapping[str, Any] | None = None

    def receive(self, event: Mapping[str, Any]) -> None:
        """Progress of the prompt, a piece of text, why the reply ended, the usage, or an error."""
        self._error = event.get("error", self._error)
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices", ()):
            if reason := choice.get("finish_reason"):
                self._finish = reason if reason in ("length", "tool_calls") else "stop"
            delta = choice.get("delta", {})
            if text := delta.get("content"):
                self._outlet.send(LlmDelta(text))
            if calls := delta.get("tool_calls"):
                self._outlet.send(LlmDelta("", tool_calls=tuple(_call_delta(call) for call in calls)))

    def finish(self) -> None:
        """Sends the last delta.

        Raises:
            EngineError: there is none, since the reply failed.
        """
        if self._error is not None:
            raise _engine_error(self._error)
        if self._finish is None:
            raise EngineError("llama.cpp ended the reply before its end.")
        self._outlet.send(
            LlmDelta(
                "",
                self._finish,
                input_tokens=self._usage.get("prompt_tokens", 0),
                output_tokens=self._usage.get("completion_tokens", 0),
                cached_tokens=self._usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            )
        )


def _payload(request: LlmRequest, slot: int) -> dict[str, Any]:
    # A chat template that knows no tools leaves them out, and nothing is called.
    return tools_of(request) | {
        "messages": messages_of(request),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "id_slot": slot,
        "cache_prompt": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # an event after every step of the prompt: a chance to stop there
    }


def _call_delta(call: Mapping[str, Any]) -> ToolCallDelta:
    function = call.get("function") or {}
    return ToolCallDelta(
        call.get("index", 0),
        call.get("id") or "",
        function.get("name") or "",
        function.get("arguments") or "",
    )


def _engine_error(error: Mapping[str, Any]) -> EngineError:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return EngineError(
            f"The conversation is too long for the language model: {message}.", code="context_full"
        )
    return EngineError(f"llama.cpp: {message}", retryable=int(error.get("code", 500)) >= 500)

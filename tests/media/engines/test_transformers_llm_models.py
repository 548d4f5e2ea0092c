"""Real language models on torch: the embedded one's GGUF file on the CPU, and any on a GPU.

`python -m pytest -m gpu -s tests/media/engines/test_transformers_llm_models.py` prints how quick it is there.
The model is that of `$VOXTRAL_KOKORO_TEST_LLM`, a repository of the hub or a folder; without it the embedded
one's file, for which the `gguf` package must be installed.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest
from media.engines.transformers_llm import TransformersLlm

pytestmark = pytest.mark.models

SYSTEM = ChatMessage("system", "You are a helpful voice assistant. Answer in one or two short sentences.")
QUESTION = "What is the capital of France?"


def request(text: str, conversation: str, max_tokens: int) -> LlmRequest:
    return LlmRequest((SYSTEM, ChatMessage("user", text)), max_tokens, 0.0, conversation)


async def whole(llm: TransformersLlm, asked: LlmRequest) -> list[LlmDelta]:
    return [delta async for delta in llm.reply(asked)]


def embedded(models_dir: Path) -> Path:
    pytest.importorskip("gguf")
    return models_dir / "smollm2-135m-instruct" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.timeout(900)  # it unpacks 135 million weights
def test_the_embedded_models_file_answers(models_dir: Path) -> None:
    async def main() -> None:
        llm = TransformersLlm(embedded(models_dir), device="cpu", context_tokens=256, parallel=2)
        await llm.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                asked = [
                    tasks.create_task(whole(llm, request(QUESTION, f"call {at}", 20))) for at in range(2)
                ]
            first, second = ("".join(delta.text for delta in reply.result()) for reply in asked)
            assert "Paris" in first
            assert first == second
            last = (await whole(llm, request(QUESTION, "call 0", 1)))[-1]
            assert last.cached_tokens == last.input_tokens - 1
        finally:
            await llm.close()

    asyncio.run(main())


@pytest.mark.gpu
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_replies_are_written_together(models_dir: Path) -> None:
    model = os.environ.get("VOXTRAL_KOKORO_TEST_LLM") or embedded(models_dir)

    async def main() -> None:
        llm = TransformersLlm(model, device="cuda", context_tokens=1024, parallel=16)
        await llm.start()
        try:
            assert "Paris" in "".join(delta.text for delta in await whole(llm, request(QUESTION, "asks", 40)))
            for callers in (1, 4, 16):
                began_s, before = time.perf_counter(), llm.batches
                firsts: list[float] = []

                async def call(number: int, began_s: float = began_s, firsts: list[float] = firsts) -> int:
                    tokens = 0
                    story = request(f"Tell me a story about the number {number}.", f"call {number}", 100)
                    async for delta in llm.reply(story):
                        if not tokens and delta.text:
                            firsts.append(time.perf_counter() - began_s)
                        tokens = tokens + 1 if delta.finish is None else delta.output_tokens
                    return tokens

                async with asyncio.TaskGroup() as tasks:
                    said = [tasks.create_task(call(number)) for number in range(callers)]
                took_s = time.perf_counter() - began_s
                steps, rows = llm.batches.steps - before.steps, llm.batches.requests - before.requests
                tokens = sum(reply.result() for reply in said)
                print(
                    f"\n{llm.name}, {torch.cuda.get_device_name()}, {callers} callers: "
                    f"{tokens / took_s:.0f} tokens/s, {rows / steps:.1f} rows a step, "
                    f"first words after {1000 * max(firsts):.0f} ms at the latest"
                )
                assert callers == 1 or rows > 1.5 * steps
        finally:
            await llm.close()

    asyncio.run(main())

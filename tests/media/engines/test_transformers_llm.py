"""A language model on torch, of the real classes: streamed, kept, joined with others, cut off."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM

from media.engines import transformers_llm
from media.engines.kv_slots import KvSlots
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCall, ToolCallDelta
from media.engines.slot_decoder import Reading, SlotDecoder
from media.engines.transformers_llm import TransformersLlm
from media.errors import EngineError, ModelMissing
from media.tools import Tool
from tests.media.engines.tiny_chat_model import CONTEXT_TOKENS, taught, tokenizer

SYSTEM = ChatMessage("system", "You are brief.")
WEATHER = Tool("weather", "The weather.", '{"type": "object"}')
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}</tool_call>'
STORY = "Once there was a ship that went to sea and never came back, and nobody knew why it had gone."


def request(*texts: str, max_tokens: int = 150, conversation: str = "") -> LlmRequest:
    said = (ChatMessage("assistant" if at % 2 else "user", text) for at, text in enumerate(texts))
    return LlmRequest((SYSTEM, *said), max_tokens, 0.0, conversation)


FRANCE, SPAIN = request("Capital of France?"), request("Capital of Spain?")
AND_ITALY = request("Capital of France?", "Paris it is.", "And of Italy?")
TELL = request("Tell me a story.")
ASK = replace(request("Weather in Bonn?"), tools=(WEATHER,))
BROUGHT = replace(
    request("Weather in Bonn?"),
    messages=(
        SYSTEM,
        ChatMessage("user", "Weather in Bonn?"),
        ChatMessage("assistant", "", (ToolCall("call_1", "weather", '{"city": "Bonn"}'),)),
        ChatMessage("tool", "sunny", call_id="call_1"),
    ),
    tools=(WEATHER,),
)
REPLIES = {
    FRANCE: "Paris it is.",
    SPAIN: "Madrid.",
    AND_ITALY: "Rome, of course.",
    TELL: STORY,
    ASK: f"Let me see. {CALL}",
    BROUGHT: "It is sunny.",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    taught(folder, REPLIES)
    yield folder
    torch.set_num_threads(threads)


@contextlib.asynccontextmanager
async def started(model: Path, *, parallel: int = 4) -> AsyncIterator[TransformersLlm]:
    llm = TransformersLlm(model, device="cpu", context_tokens=CONTEXT_TOKENS, parallel=parallel)
    await llm.start()
    try:
        yield llm
    finally:
        await llm.close()


async def whole(llm: TransformersLlm, asked: LlmRequest) -> list[LlmDelta]:
    return [delta async for delta in llm.reply(asked)]


def text_of(deltas: list[LlmDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_a_reply_streams_and_says_how_it_ended(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            deltas = await whole(llm, TELL)
            assert text_of(deltas) == STORY
            assert len(deltas) > len(STORY) // 2  # a letter is a token here
            assert {delta.finish for delta in deltas[:-1]} == {None}
            last = deltas[-1]
            assert (last.finish, last.output_tokens) == ("stop", len(STORY))
            assert last.input_tokens > 20

            cut = await whole(llm, replace(TELL, max_tokens=5))
            assert (text_of(cut), cut[-1].finish, cut[-1].output_tokens) == (STORY[:5], "length", 5)
            assert llm.name.startswith("transformers (tiny")

    asyncio.run(main())


def test_a_conversation_is_read_once_whatever_others_say_in_between(model: Path) -> None:
    async def main() -> None:
        async with started(model, parallel=2) as llm:
            mine = replace(FRANCE, conversation="mine")
            first = await whole(llm, mine)
            await whole(llm, replace(SPAIN, conversation="others"))
            again = await whole(llm, mine)
            assert text_of(first) == text_of(again) == REPLIES[FRANCE]
            assert again[-1].cached_tokens == again[-1].input_tokens - 1

            on = await whole(llm, replace(AND_ITALY, conversation="mine"))
            assert text_of(on) == REPLIES[AND_ITALY]  # as it was taught, without a cache
            new = len("<user And of Italy?><assistant ") + 4
            assert on[-1].input_tokens - on[-1].cached_tokens < new

    asyncio.run(main())


def test_a_reply_that_has_begun_is_gone_on_with(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            assert text_of(await whole(llm, replace(TELL, begun=STORY[:30]))) == STORY[30:]

    asyncio.run(main())


def test_what_another_conversation_begins_with_alike_is_not_read_again(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            await whole(llm, replace(FRANCE, conversation="mine"))
            other = await whole(llm, replace(SPAIN, conversation="others"))
            assert text_of(other) == REPLIES[SPAIN]
            assert other[-1].cached_tokens > len(SYSTEM.text)
            assert text_of(await whole(llm, replace(FRANCE, conversation="mine"))) == REPLIES[FRANCE]

    asyncio.run(main())


def test_replies_that_are_written_together_are_what_each_is_alone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_llm, "_GATHER_S", 0.2)  # as long as a busy machine may take

    async def main() -> None:
        async with started(model) as llm:
            all_of_them = (FRANCE, TELL, AND_ITALY, TELL)
            asked = [replace(one, conversation=str(at)) for at, one in enumerate(all_of_them)]
            before = llm.batches
            async with asyncio.TaskGroup() as tasks:
                replies = [tasks.create_task(whole(llm, one)) for one in asked]
            assert [text_of(reply.result()) for reply in replies] == [REPLIES[one] for one in all_of_them]
            steps, requests = llm.batches.steps - before.steps, llm.batches.requests - before.requests
            assert requests > 1.7 * steps  # they met, and went on together

    asyncio.run(main())


def test_one_pass_for_rows_of_different_lengths_is_the_models_own(model: Path) -> None:
    """Scores of prompts and of next tokens, joined and in pieces, against the model without any cache."""
    reference = AutoModelForCausalLM.from_pretrained(model).eval()
    words = tokenizer()
    texts = ("A", "Tell me a very long story about ships.", "Capital of France?", "What?")
    rows = [words(text)["input_ids"] for text in texts]

    def scores(tokens: list[int]) -> Any:
        with torch.inference_mode():
            return reference(input_ids=torch.tensor([tokens])).logits[0, -1]

    seen: list[Any] = []

    class Watched(SlotDecoder):
        def _following(self, logits: Any, temperatures: Any) -> Any:
            seen.append(logits)
            return super()._following(logits, temperatures)

    decoder = Watched(reference, "cpu", slots=5, context_tokens=CONTEXT_TOKENS, chunk_tokens=16)
    slots = (4, 0, 3, 1)  # neither in order nor side by side
    readings = [Reading(slot, list(row), 0.0) for slot, row in zip(slots, rows, strict=True)]
    for _ in range(8):
        late = readings[2:]  # two of them begin later
        under_way = readings if len(seen) > 2 else [one for one in readings if one not in late]
        before = len(seen)
        answers = decoder.step(under_way)
        order = sorted(under_way, key=lambda reading: reading.slot)
        for reading, answer in zip(under_way, answers, strict=True):
            if answer is None:
                continue
            row = seen[before][order.index(reading)]
            torch.testing.assert_close(row, scores(reading.tokens), atol=1e-4, rtol=1e-4)
            assert isinstance(answer, int)
            reading.tokens.append(answer)
    assert all(len(reading.tokens) > len(row) for reading, row in zip(readings, rows, strict=True))


def test_what_a_gpu_computes_in_does(model: Path) -> None:
    """Slots side by side and apart, cold rows and warm ones."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    decoder = SlotDecoder(loaded, "cpu", slots=4, context_tokens=CONTEXT_TOKENS, chunk_tokens=16)
    tokens = tokenizer()("Tell me a story.")["input_ids"]
    for slots in ((0, 1), (3, 0)):
        readings = [Reading(slot, list(tokens), 0.7 * at) for at, slot in enumerate(slots)]
        assert all(isinstance(answer, int) for answer in decoder.step(readings))


def test_closing_a_reply_frees_its_slot_within_a_step(model: Path) -> None:
    async def main() -> None:
        async with started(model, parallel=1) as llm:
            for _ in range(3):  # more than there are slots
                story = llm.reply(TELL)
                async with contextlib.aclosing(story):
                    await anext(story)
            before = llm.batches.steps
            assert text_of(await whole(llm, replace(SPAIN, max_tokens=1))) == "M"
            pieces = 1 + len(SPAIN.messages[0].text + SPAIN.messages[1].text) // 32 + 3
            assert llm.batches.steps - before <= pieces

    asyncio.run(main())


def test_a_cancelled_reply_leaves_the_others_whole(model: Path) -> None:
    async def main() -> None:
        async with started(model, parallel=2) as llm:
            begun = asyncio.Event()

            async def follow(asked: LlmRequest) -> str:
                text = ""
                async for delta in llm.reply(asked):
                    text += delta.text
                    begun.set()
                return text

            async with asyncio.TaskGroup() as tasks:
                kept = tasks.create_task(follow(replace(TELL, conversation="kept")))
                dropped = tasks.create_task(follow(replace(TELL, conversation="dropped")))
                await begun.wait()
                dropped.cancel()
            assert kept.result() == STORY

    asyncio.run(main())


def test_reading_ahead_is_not_read_again_and_gives_way(model: Path) -> None:
    async def main() -> None:
        async with started(model, parallel=1) as llm:
            ahead = replace(AND_ITALY, max_tokens=0, conversation="mine")
            (read,) = await whole(llm, ahead)
            assert (read.text, read.finish) == ("", "length")
            reply = await whole(llm, replace(AND_ITALY, conversation="mine"))
            assert text_of(reply) == REPLIES[AND_ITALY]
            assert reply[-1].cached_tokens >= read.input_tokens

            order: list[str] = []

            async def follow(name: str, asked: LlmRequest) -> None:
                await whole(llm, asked)
                order.append(name)

            long = replace(request("word " * 80, max_tokens=0), conversation="reader")
            async with asyncio.TaskGroup() as tasks:
                before = llm.batches.steps
                tasks.create_task(follow("read", long))
                while llm.batches.steps == before:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await tasks.create_task(follow("reply", replace(SPAIN, conversation="reader")))
            assert order == ["read", "reply"]  # it stopped at its next step
            (read,) = await whole(llm, long)
            assert read.cached_tokens < read.input_tokens - 1

    asyncio.run(main())


def test_a_conversation_that_is_too_long_is_refused(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            with pytest.raises(EngineError, match="too long for the language model") as caught:
                await whole(llm, request("word " * 200))
            assert caught.value.code == "context_full"
            nearly = request("x" * (CONTEXT_TOKENS - 60), max_tokens=400)
            last = (await whole(llm, nearly))[-1]
            assert last.input_tokens + last.output_tokens <= CONTEXT_TOKENS

    asyncio.run(main())


# Tools


def calls_of(deltas: list[LlmDelta]) -> list[ToolCallDelta]:
    return [call for delta in deltas for call in delta.tool_calls]


def test_a_tool_is_called_and_what_it_brought_is_told(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            deltas = await whole(llm, ASK)
            assert text_of(deltas).strip() == "Let me see."
            assert calls_of(deltas) == [ToolCallDelta(0, "", "weather", '{"city": "Bonn"}')]
            assert deltas[-1].finish == "tool_calls"
            assert text_of(await whole(llm, BROUGHT)) == "It is sunny."

    asyncio.run(main())


def test_a_call_that_has_to_be_made_is_begun_for_the_model(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            for choice in ("required", "function:weather"):
                deltas = await whole(llm, replace(ASK, tool_choice=choice, max_tokens=60))
                assert text_of(deltas) == ""
            plain = await whole(llm, replace(ASK, tool_choice="none", max_tokens=1))
            assert plain[-1].input_tokens < deltas[-1].input_tokens  # no tools in it

    asyncio.run(main())


# What goes wrong


def test_scores_that_are_no_numbers_are_their_rows_fault_alone(model: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model).eval()
    decoder = SlotDecoder(reference, "cpu", slots=2, context_tokens=64, chunk_tokens=16)
    logits = torch.zeros(3, 10)
    logits[0, 4] = logits[1, 5] = 1.0
    logits[1, 6] = torch.nan
    cold, broken, warm = decoder._following(logits, [0.0, 0.0, 0.7])
    assert cold == 4
    assert isinstance(broken, EngineError)
    assert isinstance(warm, int)
    logits = torch.full((3, 10), -torch.inf)  # drawing from such a row would end a GPU's process
    logits[1, 5], logits[2, 6] = torch.inf, 1.0
    nothing, everything, masked = decoder._following(logits, [0.7] * 3)
    assert isinstance(nothing, EngineError)
    assert isinstance(everything, EngineError)
    assert masked == 6


def test_a_warm_reply_draws_only_what_is_likely(model: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model).eval()
    decoder = SlotDecoder(reference, "cpu", slots=1, context_tokens=64, chunk_tokens=16)
    logits = torch.tensor([[3.0, 3.0, -2.0, -9.0]]).repeat(200, 1)
    drawn = decoder._following(logits, [1.0] * 200)
    assert set(drawn) == {0, 1}


def test_models_that_are_not_there_or_cannot_converse_are_refused(model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ModelMissing, match="holds no model"):
            await TransformersLlm(tmp_path, device="cpu").start()
        with pytest.raises(ModelMissing, match=r"directory absent is missing: set llm\.name"):
            await TransformersLlm("./absent", device="cpu").start()
        with pytest.raises(ModelMissing, match=r"absent\.gguf is missing"):
            await TransformersLlm(tmp_path / "absent.gguf", device="cpu").start()
        mute = tmp_path / "mute"
        mute.mkdir()
        for file in model.iterdir():  # noqa: ASYNC240
            if "template" not in file.name:
                (mute / file.name).write_bytes(file.read_bytes())
        with pytest.raises(EngineError, match="no chat template"):
            await TransformersLlm(mute, device="cpu").start()
        if not torch.cuda.is_available():
            with pytest.raises(EngineError, match="device"):
                await TransformersLlm(model, device="cuda").start()

    asyncio.run(main())


@pytest.mark.parametrize("kind", [{"model_type": "no_such_type"}, {}])
def test_a_model_of_a_kind_that_nobody_knows_is_refused(
    model: Path, tmp_path: Path, kind: dict[str, str]
) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_type"]
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | kind))
    with pytest.raises(EngineError, match=r"\(llm\.name\) cannot be loaded"):
        asyncio.run(TransformersLlm(tmp_path, device="cpu").start())


def test_a_closed_engine_ends_what_it_writes(model: Path) -> None:
    async def main() -> None:
        async with started(model) as llm:
            story = llm.reply(TELL)
            async with contextlib.aclosing(story):
                await anext(story)
                await llm.close()
                with pytest.raises(EngineError):
                    await whole(llm, FRANCE)

    asyncio.run(main())


def test_a_slot_keeps_what_it_begins_with_alike() -> None:
    slots = KvSlots(2, 64)
    assert slots.enter(0, (1, 2, 3)) == 0
    slots.wrote(0, (1, 2, 3))
    assert slots.enter(0, (1, 2, 3)) == 2  # something has to be read, for what follows it
    slots.wrote(0, (3, 4))
    assert slots.enter(0, (1, 2, 9, 9)) == 2


def test_it_can_be_started_again(model: Path) -> None:
    async def main() -> None:
        llm = TransformersLlm(model, device="cpu", context_tokens=CONTEXT_TOKENS, parallel=2)
        for _ in range(2):
            await llm.start()
            async with contextlib.aclosing(llm.reply(FRANCE)) as deltas:
                assert "".join([delta.text async for delta in deltas]) == "Paris it is."
            await llm.close()

    asyncio.run(main())

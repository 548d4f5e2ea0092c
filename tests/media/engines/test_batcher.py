"""Requests of different calls in one step: who goes first, who leaves, what fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.engines.batcher import BatchCounts, Batcher
from media.engines.inference import InferenceThreads, Urgency
from media.errors import EngineError


class Held:
    """A step that shouts, and waits for `gate` before its first batch."""

    def __init__(self, largest: int = 4) -> None:
        self.threads = InferenceThreads("engine")
        self.gate = threading.Event()
        self.began = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.batches: list[list[str]] = []
        self.batcher: Batcher[str, str] = Batcher(
            self.threads, self._shout, largest=largest, alike=lambda text: text.isdigit()
        )

    def _shout(self, batch: Sequence[str]) -> list[str | Exception]:
        self.batches.append(list(batch))
        self._loop.call_soon_threadsafe(self.began.set)
        self.gate.wait()
        if "broken" in batch:
            raise RuntimeError("the backend")
        return [ValueError(text) if text == "bad" else text.upper() for text in batch]

    async def busy(self, group: asyncio.TaskGroup) -> None:
        """Returns when a first batch is under way, which waits for the gate."""
        group.create_task(self.batcher.run("first"))
        await self.began.wait()


async def asked(
    group: asyncio.TaskGroup, held: Held, text: str, urgency: Urgency = Urgency.NOW, call: str = ""
) -> asyncio.Task[str]:
    task = group.create_task(held.batcher.run(text, urgency=urgency, call=call))
    await asyncio.sleep(0)
    return task


def run(main: Callable[[Held], Awaitable[None]], largest: int = 4) -> list[list[str]]:
    async def whole() -> list[list[str]]:
        held = Held(largest)
        try:
            await main(held)
        finally:
            held.gate.set()
            await held.threads.close()
        assert held.batcher.counts == BatchCounts(
            len(held.batches), sum(len(batch) for batch in held.batches)
        )
        return held.batches

    return asyncio.run(asyncio.wait_for(whole(), 60))


def test_what_waits_for_a_busy_engine_is_computed_together() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            tasks = [await asked(group, held, text) for text in "abc"]
            held.gate.set()
        assert [task.result() for task in tasks] == ["A", "B", "C"]

    assert run(main) == [["first"], ["a", "b", "c"]]


def test_the_most_urgent_go_first_and_no_call_before_anothers_turn() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            await asked(group, held, "later", urgency=Urgency.SOON)
            for text in ("a1", "a2", "a3"):
                await asked(group, held, text, call="a")
            await asked(group, held, "b1", call="b")
            held.gate.set()

    assert run(main, largest=2) == [["first"], ["a1", "b1"], ["a2", "a3"], ["later"]]


def test_only_what_is_alike_shares_a_step() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            for text in ("a", "1", "b", "2"):
                await asked(group, held, text)
            held.gate.set()

    assert run(main) == [["first"], ["a", "b"], ["1", "2"]]


def test_who_is_cancelled_leaves_before_its_step() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            gone = await asked(group, held, "gone")
            stays = await asked(group, held, "stays")
            gone.cancel()
            await asyncio.wait({gone})
            held.gate.set()
        assert stays.result() == "STAYS"

    assert run(main) == [["first"], ["stays"]]


def test_who_is_cancelled_in_its_step_takes_nobody_along() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            gone = await asked(group, held, "gone")
            await held.began.wait()
            stays = await asked(group, held, "stays")
            gone.cancel()
            await asyncio.wait({gone})
            held.gate.set()
        assert stays.result() == "STAYS"

    assert run(main) == [["gone"], ["stays"]]


def test_an_answer_may_be_one_requests_failure() -> None:
    async def main(held: Held) -> None:
        held.gate.set()
        with pytest.raises(EngineError, match="engine: bad"):
            await held.batcher.run("bad")
        assert await held.batcher.run("good") == "GOOD"

    run(main)


def test_a_step_that_fails_fails_all_of_its_requests() -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            tasks = [group.create_task(failed(held, text)) for text in ("broken", "whole")]
            await asyncio.sleep(0)
            held.gate.set()
        assert [task.result() for task in tasks] == ["engine: the backend"] * 2

    async def failed(held: Held, text: str) -> str:
        with pytest.raises(EngineError) as error:
            await held.batcher.run(text)
        return str(error.value)

    run(main)


def test_closing_the_threads_lets_everybody_go() -> None:
    async def main() -> None:
        held = Held(largest=1)
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            waiting = [group.create_task(closed(held)) for _ in range(3)]
            await asyncio.sleep(0)
            closing = group.create_task(held.threads.close())
            await asyncio.wait(waiting)
            held.gate.set()
            await closing
        with pytest.raises(EngineError, match="closed"):
            await held.batcher.run("after")

    async def closed(held: Held) -> None:
        with pytest.raises(EngineError, match="closed"):
            await held.batcher.run("waits")

    asyncio.run(asyncio.wait_for(main(), 60))


def test_an_idle_engine_waits_for_company_only_while_there_is_room() -> None:
    """A minute would be waited for a third; two fill the step."""

    async def main() -> list[int]:
        threads = InferenceThreads("engine")
        sizes: list[int] = []

        def step(batch: Sequence[int]) -> Sequence[int]:
            sizes.append(len(batch))
            return batch

        batcher: Batcher[int, int] = Batcher(threads, step, largest=2, gather_s=60.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(batcher.run(1))
            group.create_task(batcher.run(2))
        await threads.close()
        return sizes

    assert asyncio.run(asyncio.wait_for(main(), 30)) == [2]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Urgency)), st.booleans()), max_size=30),
    st.integers(1, 5),
)
def test_everybody_who_stays_is_answered(asks: list[tuple[str, Urgency, bool]], largest: int) -> None:
    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            tasks = []
            for number, (call, urgency, leaves) in enumerate(asks):
                task = await asked(group, held, f"x{number}", call=call, urgency=urgency)
                tasks.append((task, leaves))
            for task, leaves in tasks:
                if leaves:
                    task.cancel()
            held.gate.set()
        for number, (task, leaves) in enumerate(tasks):
            assert leaves or task.result() == f"X{number}"

    batches = run(main, largest=largest)
    assert all(len(batch) <= largest for batch in batches)


def test_who_was_served_in_anothers_turn_leaves_it_a_turn() -> None:
    """A less urgent one's turn has come, and waits for company; what comes is more urgent, and unlike it."""

    async def main() -> list[list[str]]:
        threads = InferenceThreads("engine")
        gathering, served = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        batches: list[list[str]] = []

        def step(batch: Sequence[str]) -> Sequence[str]:
            batches.append(list(batch))
            return batch

        def under_way() -> int:
            loop.call_soon_threadsafe(gathering.set)
            return 1 if batches else 2

        batcher: Batcher[str, str] = Batcher(
            threads, step, largest=2, gather_s=60.0, alike=lambda text: text.isdigit(), under_way=under_way
        )
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(batcher.run("later", urgency=Urgency.SOON))
            await gathering.wait()
            threads.submit(served.wait, Urgency.NOW)  # it has gone when its own turn would come
            group.create_task(batcher.run("1")).add_done_callback(lambda _: served.set())
        await threads.close()
        return batches

    assert asyncio.run(main()) == [["1"], ["later"]]


def test_those_that_come_again_after_each_step_go_on_together() -> None:
    async def main() -> None:
        threads = InferenceThreads("engine")
        gate, began = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        batches: list[list[str]] = []
        coming: list[str] = []

        def step(batch: Sequence[str]) -> list[str | Exception]:
            batches.append(sorted(batch))
            loop.call_soon_threadsafe(began.set)
            gate.wait()
            return list(batch)

        batcher: Batcher[str, str] = Batcher(
            threads, step, largest=4, gather_s=5.0, under_way=lambda: len(coming)
        )

        async def come(name: str) -> None:
            coming.append(name)
            for _ in range(5):
                await batcher.run(name)
            coming.remove(name)

        # The last one may be asked before the other has left: then it waits for it in vain, for `gather_s`.
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(come("a"))
            await began.wait()
            group.create_task(come("b"))  # amid a step of the other's
            await asyncio.sleep(0)
            gate.set()
        assert batches == [["a"], *[["a", "b"]] * 4, ["b"]]
        await threads.close()

    asyncio.run(main())

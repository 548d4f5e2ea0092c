"""Requests of different calls in one step: who goes first, who leaves, what fails."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.clock import loop_time_s
from media.engines.batcher import AGES_S, BatchCounts, Batcher, aged
from media.engines.failed_step import failed_step_of
from media.engines.inference import InferenceThreads, Urgency
from media.errors import EngineError
from tests import virtual_time


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


@pytest.mark.parametrize("answers", [[], ["one"], ["one", "two", "three"]])
def test_a_step_that_gives_too_few_answers_or_too_many_has_failed(answers: list[str]) -> None:
    async def failed(batcher: Batcher[str, str]) -> EngineError:
        with pytest.raises(EngineError, match=f"A step gave {len(answers)} answers to 2 requests") as error:
            await batcher.run("asked")
        return error.value

    async def main() -> None:
        threads = InferenceThreads("engine")
        batcher: Batcher[str, str] = Batcher(threads, lambda _batch: answers, largest=2, gather_s=60.0)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(failed(batcher)) for _ in range(2)]
        errors = [task.result() for task in tasks]
        assert {error.code for error in errors} == {"engine_garbage"}
        assert failed_step_of(errors[0]) is failed_step_of(errors[1]) is not None
        await threads.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_two_steps_that_fail_are_two() -> None:
    async def failed(held: Held, text: str) -> object:
        with pytest.raises(EngineError) as error:
            await held.batcher.run(text)
        return failed_step_of(error.value)

    async def main(held: Held) -> None:
        async with asyncio.TaskGroup() as group:
            await held.busy(group)
            tasks = [group.create_task(failed(held, text)) for text in ("broken", "whole")]
            await asyncio.sleep(0)
            held.gate.set()
        first, other = (task.result() for task in tasks)
        assert first is other is not None
        assert await failed(held, "broken") not in (None, first)
        assert await failed(held, "bad") is None  # its own failure

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


# What waits becomes more urgent: in virtual time

STEP_S = 0.25


class VirtualThread(InferenceThreads):
    """One thread, whose steps take virtual time on the loop."""

    def __init__(self) -> None:
        super().__init__("virtual")
        self._turns: list[tuple[Urgency, int, Future[Any], Callable[[], Any]]] = []
        self._numbers = itertools.count()
        self._busy = False

    def submit(self, work: Callable[[], Any], urgency: Urgency) -> Future[Any]:
        future: Future[Any] = Future()
        heapq.heappush(self._turns, (urgency, next(self._numbers), future, work))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)
        return future

    def _next(self) -> None:
        self._busy = bool(self._turns)
        if self._busy:
            *_, future, work = heapq.heappop(self._turns)
            if future.set_running_or_notify_cancel():
                future.set_result(work())
                asyncio.get_running_loop().call_later(STEP_S, self._next)
            else:
                self._next()


def crowded(urgency: Urgency, largest: int, *, gives_way: int = 0) -> float:
    """How long a request waits where others that are most urgent come again and again, enough for two steps.

    Args:
        urgency: its own.
        largest: requests of a step.
        gives_way: so often its first answers are void, and it is asked again.
    """

    async def main() -> float:
        batcher: Batcher[str, str] = Batcher(
            VirtualThread(), lambda batch: list(batch), largest=largest, clock=loop_time_s
        )

        async def come_again(name: str) -> None:
            while True:
                await batcher.run(name, call=name)

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(come_again(f"call {at}")) for at in range(2 * largest)]
            await asyncio.sleep(10.0)
            began_s = loop_time_s()
            for _ in range(1 + gives_way):
                await batcher.run("partial", urgency=urgency, since_s=began_s)
            waited_s = loop_time_s() - began_s
            for other in others:
                other.cancel()
        return waited_s

    return virtual_time.run(main())


@pytest.mark.parametrize("largest", [1, 4])
@pytest.mark.parametrize("urgency", [Urgency.SOON, Urgency.IDLE])
def test_nobody_waits_for_ever_since_others_are_more_urgent(urgency: Urgency, largest: int) -> None:
    waited_s = crowded(urgency, largest)
    assert urgency * AGES_S - STEP_S <= waited_s <= urgency * AGES_S + 2 * STEP_S


def test_who_gave_way_has_waited_since_it_first_asked() -> None:
    assert crowded(Urgency.IDLE, 4, gives_way=3) <= 2 * AGES_S + (2 + 3 * 2) * STEP_S


def test_those_that_wait_as_long_stay_in_their_order() -> None:
    for waited_s in (0.0, AGES_S / 2, AGES_S, 3 * AGES_S):
        ages = [aged(urgency, waited_s) for urgency in Urgency]
        assert ages == sorted(ages)
    assert [aged(Urgency.IDLE, waited_s) for waited_s in (1.9, 2.0, 4.0, 1e6)] == [2, 1, 0, 0]

"""Work on an engine's threads: order, cancellation, failures, closing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator

import pytest

from media.engines.inference import InferenceThreads, Outlet, Urgency
from media.errors import EngineError


def test_the_most_urgent_work_runs_first() -> None:
    async def main() -> list[str]:
        threads = InferenceThreads("engine")
        gate = threading.Event()
        ran: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(threads.run(gate.wait))
            await asyncio.sleep(0)
            group.create_task(threads.run(lambda: ran.append("partial"), urgency=Urgency.IDLE))
            await asyncio.sleep(0)
            group.create_task(threads.run(lambda: ran.append("segment"), urgency=Urgency.SOON))
            await asyncio.sleep(0)
            group.create_task(threads.run(lambda: ran.append("flush")))
            await asyncio.sleep(0)
            assert not threads.idle
            gate.set()
        assert threads.idle
        await threads.close()
        return ran

    assert asyncio.run(main()) == ["flush", "segment", "partial"]


def test_work_that_runs_can_see_what_presses() -> None:
    async def main() -> list[bool]:
        threads = InferenceThreads("engine")
        gate = threading.Event()
        presses = threads.presses
        seen: list[bool] = [presses(Urgency.NOW)]
        async with asyncio.TaskGroup() as group:
            group.create_task(threads.run(gate.wait))
            await asyncio.sleep(0)
            group.create_task(threads.run(lambda: None, urgency=Urgency.SOON))
            await asyncio.sleep(0)
            seen += [presses(Urgency.NOW), presses(Urgency.SOON), presses(Urgency.IDLE)]
            gate.set()
        await threads.close()
        return [*seen, presses(Urgency.IDLE)]

    assert asyncio.run(asyncio.wait_for(main(), 10)) == [False, False, True, True, False]


def test_work_runs_on_a_named_thread_and_returns() -> None:
    async def main() -> str:
        threads = InferenceThreads("whisper")
        try:
            return await threads.run(lambda: threading.current_thread().name)
        finally:
            await threads.close()

    assert asyncio.run(main()) == "whisper_0"


def test_cancelled_work_that_waits_never_runs() -> None:
    async def main() -> list[str]:
        threads = InferenceThreads("engine")
        gate = threading.Event()
        ran: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(threads.run(gate.wait))
            await asyncio.sleep(0)
            waiting = group.create_task(threads.run(lambda: ran.append("cancelled")))
            await asyncio.sleep(0)
            waiting.cancel()
            group.create_task(threads.run(lambda: ran.append("after")))
            await asyncio.sleep(0)
            gate.set()
        await threads.close()
        return ran

    assert asyncio.run(main()) == ["after"]


def test_a_cancelled_caller_is_let_go_while_its_work_runs() -> None:
    async def main() -> None:
        threads = InferenceThreads("engine")
        started, gate = threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            gate.wait()

        async with asyncio.TaskGroup() as group:
            running = group.create_task(threads.run(work))
            await asyncio.sleep(0)
            assert started.wait(5)
            running.cancel()
            await asyncio.wait({running}, timeout=5)
            assert running.cancelled()
            assert not threads.idle  # the thread is still at it
            gate.set()
        await threads.close()
        assert threads.idle

    asyncio.run(main())


def test_what_the_backend_raises_becomes_an_engine_error() -> None:
    def work() -> None:
        raise RuntimeError("out of cheese")

    async def main() -> None:
        threads = InferenceThreads("engine")
        try:
            await threads.run(work)
        finally:
            await threads.close()

    with pytest.raises(EngineError, match="engine: out of cheese"):
        asyncio.run(main())


def test_close_ends_the_threads_and_refuses_what_waits_and_what_comes() -> None:
    before = set(threading.enumerate())

    async def main() -> None:
        threads = InferenceThreads("engine", threads=2)
        gate = threading.Event()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(threads.run(gate.wait)) for _ in range(2)]
            await asyncio.sleep(0)
            waiting = group.create_task(_error(threads))
            await asyncio.sleep(0)
            closing = group.create_task(threads.close())
            await asyncio.sleep(0)
            gate.set()
        assert [task.result() for task in running] == [True, True]
        assert waiting.result().code == "engine_closed"
        assert closing.done()
        await threads.close()
        assert (await _error(threads)).code == "engine_closed"

    asyncio.run(main())
    assert set(threading.enumerate()) == before


async def _error(threads: InferenceThreads) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await threads.run(lambda: None)
    return caught.value


def test_a_stream_yields_what_its_work_sends_and_raises_what_it_raises() -> None:
    def work(outlet: Outlet[int]) -> None:
        for number in range(3):
            outlet.send(number)
        raise ValueError("no more")

    async def main() -> None:
        threads = InferenceThreads("engine")
        stream = threads.stream(work)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(EngineError, match="engine: no more"):
            await anext(stream)
        await threads.close()

    asyncio.run(main())


def test_closing_a_stream_tells_its_work() -> None:
    ended = threading.Event()

    def work(outlet: Outlet[str]) -> None:
        while not outlet.closed:
            outlet.send("more")
            ended.wait(0.001)
        ended.set()

    async def main() -> None:
        threads = InferenceThreads("engine")
        async with contextlib.aclosing(threads.stream(work)) as stream:
            assert await anext(stream) == "more"
        await threads.close()  # returns only because the work has ended
        assert ended.is_set()

    asyncio.run(main())


def test_a_stream_closed_before_its_turn_never_runs() -> None:
    async def main() -> list[str]:
        threads = InferenceThreads("engine")
        gate = threading.Event()
        ran: list[str] = []

        def work(_: Outlet[str]) -> None:
            ran.append("stream")

        async with asyncio.TaskGroup() as group:
            group.create_task(threads.run(gate.wait))
            await asyncio.sleep(0)
            stream = threads.stream(work)
            consumer = group.create_task(_consume(stream))
            await asyncio.sleep(0)
            consumer.cancel()
            await asyncio.wait({consumer})
            gate.set()
        await threads.close()
        return ran

    assert asyncio.run(main()) == []


async def _consume(stream: AsyncGenerator[str, None]) -> None:
    async with contextlib.aclosing(stream):
        async for _ in stream:
            pass

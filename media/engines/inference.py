"""Where blocking inference runs: a few named threads of one engine, the most urgent work first."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from functools import partial
from typing import Any, Generic, TypeVar

from media.engines.backend_failures import engine_error
from media.errors import EngineError

T = TypeVar("T")


class Urgency(IntEnum):
    """Which waiting work runs next; equals run in the order they came."""

    NOW = 0
    """Somebody waits for it in silence."""
    SOON = 1
    """It saves somebody a wait that has not begun."""
    IDLE = 2
    """Nice to have: a partial transcript."""


class Outlet(Generic[T]):
    """What streaming work sends its results through, from its thread to the consumer's loop.

    Holds what was sent and not yet consumed without a bound of its own: the work has one (a reply's
    tokens, a clause's chunks), and a thread that waited for its consumer would be lost to other calls.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sent: asyncio.Queue[T | None] = asyncio.Queue()
        self._closed = False

    @property
    def closed(self) -> bool:
        """The consumer has gone: the work should end as soon as it can."""
        return self._closed

    def send(self, item: T) -> None:
        """From the work's thread; dropped where the consumer has gone."""
        self._hand_over(item)

    def end(self) -> None:
        """From any thread: nothing more will be sent."""
        self._hand_over(None)

    def _hand_over(self, item: T | None) -> None:
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and the consumer with it
                self._loop.call_soon_threadsafe(self._sent.put_nowait, item)

    async def receive(self) -> T | None:
        """The next item, None after the last."""
        return await self._sent.get()

    def close(self) -> None:
        self._closed = True


class InferenceThreads:
    """An engine's threads, named `NAME_0` … for debuggers and profilers.

    Work waits in a heap, unbounded in itself: each call has at most a few pieces of work here, and calls
    are limited where they are accepted.

    Args:
        name: the engine's.
        threads: how many pieces of work may run at once.
        failures: what the backend raises; it reaches whoever waits as `EngineError`. So does `MemoryError`.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int = 1,
        failures: tuple[type[Exception], ...] = (RuntimeError, ValueError),
    ) -> None:
        self._name = name
        self._failures: tuple[type[Exception], ...] = (*failures, MemoryError)
        self._threads = threads
        self._executor = self._new_executor()
        self._lock = threading.Lock()
        self._waiting: list[tuple[Urgency, int, Future[Any], Callable[[], Any]]] = []
        self._order = itertools.count()
        self._unfinished: set[Future[Any]] = set()
        self._closed = False

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._unfinished

    def presses(self, urgency: Urgency) -> bool:
        """Whether work waits that is at least as urgent: what is less so, and runs, might give way."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][0] <= urgency

    async def run(self, work: Callable[[], T], *, urgency: Urgency = Urgency.NOW) -> T:
        """Runs `work` on a thread and returns what it returns.

        A cancelled caller is let go at once. Work that has not begun then never does; work that has begun
        goes on to its end on its thread (no backend can be interrupted in a step), its result is dropped.

        Raises:
            EngineError: the work raised one of `failures`, or `close` came first. `EngineOutOfMemory` where
                that was what it failed of.
        """
        with self.translating():
            return await asyncio.wrap_future(self.submit(work, urgency))

    async def stream(
        self, work: Callable[[Outlet[T]], None], *, urgency: Urgency = Urgency.NOW
    ) -> AsyncGenerator[T, None]:
        """Runs `work` on a thread and yields what it sends.

        Closing the generator (or cancelling who waits for it) closes the outlet, and does not wait for the
        work to notice.

        Raises:
            EngineError: as `run`.
        """
        outlet: Outlet[T] = Outlet()
        future = self.submit(lambda: work(outlet), urgency)
        future.add_done_callback(lambda _: outlet.end())
        try:
            with self.translating():
                while (item := await outlet.receive()) is not None:
                    yield item
                future.result()  # done: this only raises what the work raised
        finally:
            outlet.close()
            future.cancel()

    def submit(self, work: Callable[[], T], urgency: Urgency) -> Future[T]:
        """Has `work` wait for a thread, for who does not wait for it on the loop.

        Raises:
            EngineError: the threads are closed. If that comes before the work began, its future raises it.
        """
        if self._closed:
            raise self._closed_error()
        future: Future[T] = Future()
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        with self._lock:
            heapq.heappush(self._waiting, (urgency, next(self._order), future, work))
        self._executor.submit(self._run_most_urgent)
        return future

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Raises what the backend raised as `EngineError`."""
        try:
            yield
        except self._failures as error:
            raise engine_error(self._name, error) from error

    def reopen(self) -> None:
        """Takes work again after `close`: an engine may be started anew. Does nothing where it is open."""
        if self._closed:
            self._closed = False
            self._executor = self._new_executor()

    async def close(self) -> None:
        """Drops what waits, lets what runs come to its end, ends the threads. May be called twice."""
        self._closed = True
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, _, future, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._closed_error())
        # The executor joins its threads only in a blocking call: made here from a thread of its own, since
        # the last step may take a second and the loop carries other calls' audio.
        closer: Future[None] = Future()
        ending = partial(self._shut_down, self._executor, closer)
        thread = threading.Thread(target=ending, name=f"{self._name}_close")
        thread.start()
        await asyncio.shield(asyncio.wrap_future(closer))
        thread.join()

    def _run_most_urgent(self) -> None:
        """One for each submitted work, but not its own: whichever is most urgent by now."""
        with self._lock:
            if not self._waiting:
                return
            _, _, future, work = heapq.heappop(self._waiting)
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, whole
            future.set_exception(error)

    def _closed_error(self) -> EngineError:
        return EngineError(f"The engine {self._name} is closed.", code="engine_closed")

    def _new_executor(self) -> ThreadPoolExecutor:
        """Starts no thread before the first work."""
        return ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix=self._name)

    @staticmethod
    def _shut_down(executor: ThreadPoolExecutor, closer: Future[None]) -> None:
        executor.shutdown(wait=True)
        closer.set_result(None)

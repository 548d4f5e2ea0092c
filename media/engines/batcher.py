"""Requests of different calls that meet in one step of an engine that computes several at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from media.clock import thread_time_s
from media.engines.failed_step import mark_failed_step
from media.engines.inference import InferenceThreads, Urgency
from media.engines.protocols import GARBAGE
from media.errors import EngineError

Q = TypeVar("Q")
A = TypeVar("A")

AGES_S = 2.0
"""Who has waited so long counts as one degree more urgent, after twice as long as two."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What a batcher has done.

    Attributes:
        steps: that were computed.
        requests: that were computed in them; those that were cancelled before are not.
    """

    steps: int
    requests: int


def aged(urgency: Urgency, waited_s: float) -> Urgency:
    """How urgent a request is by now: nobody waits for ever since others are always more so."""
    return Urgency(max(Urgency.NOW, urgency - int(max(0.0, waited_s) / AGES_S)))


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Q, A]):
    request: Q
    urgency: Urgency
    call: str
    order: int
    since_s: float
    answer: Future[A] = field(default_factory=Future)


class Batcher(Generic[Q, A]):
    """Has requests wait for a free thread of their engine, and computes those that wait by then together.

    An idle engine computes a lone request at once; a busy one finds as many as came meanwhile. Which ones
    go first: the most urgent, which whoever waits becomes (`AGES_S`); among those, each call's oldest before
    any call's second; then as they came.

    Each request asks for one turn on a thread, and a turn takes whoever is first by then. So there is a turn
    for everybody who waits, and nobody waits for a task of the batcher's own.

    Args:
        threads: where steps run. More than one thread computes more than one step at once.
        step: computes a batch, on a thread. Its answers are in the order of the requests; where one is an
            exception, it is raised for that request alone. What it raises itself reaches all of them.
        largest: how many requests a step takes.
        gather_s: an idle engine waits so long for more requests than one.
        alike: only requests for which it is equal share a step.
        under_way: of an engine whose requests come again after each step: how many there are at most. No
            company is waited for beyond these, and `gather_s` begins with the last step's end: those that had
            their answers in it come again in a moment, and else would take turns with the others forever.
        clock: gives the time, in seconds, on any thread.
    """

    def __init__(
        self,
        threads: InferenceThreads,
        step: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        largest: int,
        gather_s: float = 0.0,
        alike: Callable[[Q], Hashable] = lambda _request: None,
        under_way: Callable[[], int] | None = None,
        clock: Callable[[], float] = thread_time_s,
    ) -> None:
        self._threads = threads
        self._step = step
        self._largest = largest
        self._gather_s = gather_s
        self._alike = alike
        self._under_way = under_way
        self._clock = clock
        self._ended_s = 0.0
        """The last step."""
        self._changed = threading.Condition()
        self._waiting: list[_Waiting[Q, A]] = []
        self._order = itertools.count()
        self._counts = BatchCounts(0, 0)

    @property
    def counts(self) -> BatchCounts:
        return self._counts

    async def run(
        self, request: Q, *, urgency: Urgency = Urgency.NOW, call: str = "", since_s: float | None = None
    ) -> A:
        """The answer to `request`. Who is cancelled leaves the queue, or the step without its answer.

        Args:
            request: for the step.
            urgency: who goes first.
            call: whose it is, for fairness between calls.
            since_s: it has been waited for since then, by the batcher's clock; None is now.

        Raises:
            EngineError: the step failed in a way that the engine's threads expect, or they were closed.
        """
        since_s = self._clock() if since_s is None else since_s
        waiting: _Waiting[Q, A] = _Waiting(request, urgency, call, next(self._order), since_s)
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify_all()
        try:
            with self._threads.translating():
                turn = self._threads.submit(self._turn, urgency)
                turn.add_done_callback(self._drop_if_closed)
                try:
                    return await asyncio.wrap_future(waiting.answer)
                finally:
                    if not self._left_by(waiting):
                        turn.cancel()
        finally:
            self._left_by(waiting)

    def _left_by(self, gone: _Waiting[Q, A]) -> bool:
        """Takes it out. Returns whether others wait: its turn, where another one's served it, is theirs."""
        with self._changed:
            if gone in self._waiting:
                self._waiting.remove(gone)
            return bool(self._waiting)

    def _turn(self) -> None:
        batch = self._take()
        if not batch:
            return
        try:
            answers = self._step([waiting.request for waiting in batch])
            if len(answers) != len(batch):
                raise EngineError(
                    f"A step gave {len(answers)} answers to {len(batch)} requests.", code=GARBAGE
                )
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, whole
            mark_failed_step(error)
            for waiting in batch:
                waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        self._ended_s = self._clock()

    def _take(self) -> list[_Waiting[Q, A]]:
        with self._changed:
            self._gather()
            ranked = self._ranked()
            if not ranked:
                return []
            kind = self._alike(ranked[0].request)
            chosen = [waiting for waiting in ranked if self._alike(waiting.request) == kind][: self._largest]
            for waiting in chosen:
                self._waiting.remove(waiting)
            batch = [waiting for waiting in chosen if waiting.answer.set_running_or_notify_cancel()]
            self._counts = BatchCounts(self._counts.steps + bool(batch), self._counts.requests + len(batch))
            return batch

    def _gather(self) -> None:
        """Waits for company for whoever has waited longest, if there is time for that."""
        while self._waiting and len(self._waiting) < self._company():
            since_s = min(waiting.since_s for waiting in self._waiting)
            if self._under_way is not None:
                since_s = max(since_s, self._ended_s)
            left_s = since_s + self._gather_s - self._clock()
            if left_s <= 0:
                return
            self._changed.wait(left_s)

    def _company(self) -> int:
        return self._largest if self._under_way is None else min(self._largest, self._under_way())

    def _ranked(self) -> list[_Waiting[Q, A]]:
        now_s = self._clock()
        ahead: Counter[tuple[Urgency, str]] = Counter()
        ranks: list[tuple[Urgency, int, int, _Waiting[Q, A]]] = []
        for waiting in self._waiting:
            urgency = aged(waiting.urgency, now_s - waiting.since_s)
            whose = (urgency, waiting.call)
            ranks.append((urgency, ahead[whose], waiting.order, waiting))
            ahead[whose] += 1
        return [waiting for *_, waiting in sorted(ranks, key=lambda rank: rank[:3])]

    def _drop_if_closed(self, turn: Future[None]) -> None:
        """A turn itself fails only where the threads were closed: nobody's turn comes any more."""
        if turn.cancelled() or (error := turn.exception()) is None:
            return
        with self._changed:
            dropped, self._waiting = self._waiting, []
        for waiting in dropped:
            if waiting.answer.set_running_or_notify_cancel():
                waiting.answer.set_exception(error)

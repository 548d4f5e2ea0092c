"""Steps of a network that are recorded once for each shape of their inputs, and replayed.

A GPU computes a small step in less time than Python takes to ask for its hundreds of kernels. A CUDA graph is
asked for at once: the same kernels, on the same memory, with other numbers in it. So a step that is to be
recorded is a function of tensors alone, on one device, that reads none of their values back.
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import torch

Step: TypeAlias = Callable[..., torch.Tensor]
"""A function of tensors."""

Record: TypeAlias = Callable[[Step, Sequence[torch.Tensor]], Step]
"""Makes what stands for a step, for inputs of these shapes and types. Its answer is good until it is called
again."""

_RUNS_BEFORE = 3
"""In which libraries choose their kernels and take their workspaces: neither may happen in a recording."""

_one_at_a_time = threading.Lock()
"""Engines start side by side."""

log = logging.getLogger(__name__)


def at_least(count: int, sizes: Sequence[int]) -> int:
    """The smallest size that holds so many; beyond the largest, whole multiples of it."""
    if count <= sizes[-1]:
        return sizes[bisect.bisect_left(sizes, count)]
    return -(-count // sizes[-1]) * sizes[-1]


class CudaGraphs:
    """Records by CUDA graphs. They share their memory: an engine's steps run one after the other.

    Args:
        device: `cuda:0`.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._pool: Any = None

    def __call__(self, step: Step, inputs: Sequence[torch.Tensor]) -> Step:
        with _one_at_a_time, torch.cuda.device(self._device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            held = [each.clone(memory_format=torch.contiguous_format) for each in inputs]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_RUNS_BEFORE):
                    step(*held)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other engines' threads may ask for memory meanwhile: that must not break the recording.
            with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                answer = step(*held)

        def replayed(*given: torch.Tensor) -> torch.Tensor:
            for mine, new in zip(held, given, strict=True):
                mine.copy_(new)
            graph.replay()
            return answer

        return replayed


class RecordedStep:
    """A step, which is replayed where it was recorded for the shapes that come, and else computed as it is.

    Nothing is recorded amid calls: that takes as long as some steps do.

    Args:
        step: is given what does not vary within a recording, then tensors.
        record: None records nothing.
    """

    def __init__(self, step: Callable[..., torch.Tensor], record: Record | None) -> None:
        self._step = step
        self._record = record
        self._recordings: dict[Hashable, Step] = {}
        self._is_recording = False
        self.replays = 0

    def __call__(self, fixed: Hashable, *inputs: torch.Tensor) -> torch.Tensor:
        """The step's answer: good until the next call.

        Args:
            fixed: what does not vary within a recording.
            inputs: on the device.
        """
        key = (fixed, *((each.shape, each.dtype) for each in inputs))
        recording = self._recordings.get(key)
        if recording is None and self._is_recording and self._record is not None:
            recording = self._record(lambda *given: self._step(fixed, *given), inputs)
            self._recordings[key] = recording
        if recording is None:
            return self._step(fixed, *inputs)
        self.replays += 1
        return recording(*inputs)

    @property
    def recordings(self) -> int:
        """For how many shapes there is one."""
        return len(self._recordings)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, shapes that come for the first time are recorded."""
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def forget(self) -> None:
        """From now on everything is computed as it is."""
        self._record = None
        self._recordings.clear()


def recorded(what: str, steps: Sequence[RecordedStep], warm_up: Callable[[], None]) -> None:
    """Has steps recorded while they are warmed up; or, where that fails, has them computed as they are.

    Args:
        what: for the log.
        steps: of one engine.
        warm_up: computes the shapes that will come.
    """
    try:
        with contextlib.ExitStack() as recording:
            for step in steps:
                recording.enter_context(step.recording())
            warm_up()
    except (RuntimeError, AssertionError) as error:  # also for lack of memory: it goes without
        for step in steps:
            step.forget()
        reason = str(error).strip() or type(error).__name__
        log.warning("CUDA graphs are not used", extra={"engine": what, "error": reason.splitlines()[0]})

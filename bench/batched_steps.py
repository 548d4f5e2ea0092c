"""What a row costs in steps of several rows: the network alone, whatever the machine is busy with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from bench.report import markdown
from media.engines.g2p import pronounce
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_torch_network import FrontRequest, KokoroTorchNetwork, WindowRequest
from media.engines.kokoro_torch_weights import load_onnx
from media.engines.kokoro_vocabulary import token_ids
from media.engines.kokoro_voice_files import KokoroVoiceFiles
from media.engines.torch_device import place_of
from server.model_store import ModelStore, default_root

TEXT, VOICE = "Please turn left at the traffic lights.", "af_heart"
ROWS = (1, 4, 16)
FIRST_FRAME = 40
TIMES = 3


@dataclass(frozen=True, slots=True)
class StepCost:
    """A kind of step, with so many rows.

    Attributes:
        kind: `front`, `window of 16 frames` …
        rows: in the step.
        row_ms: the step's time by row: on a GPU until its results are there, on the CPU the processor's, on
            one thread.
    """

    kind: str
    rows: int
    row_ms: float


def step_costs(device: str) -> list[StepCost]:
    """Each kind of step with each number of rows, all rows the same."""
    place = place_of(device)
    torch.set_num_threads(1)  # a second one waits for the first, which would count
    store = ModelStore(default_root())
    model = load_onnx(store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx").to(place.device)
    network = KokoroTorchNetwork(model, KokoroNorms(), fixed_shapes=place.is_cuda)
    ids = token_ids("".join(word.phonemes for word in pronounce(TEXT, "en-us")))
    style = KokoroVoiceFiles(store.path("kokoro-voices")).style(VOICE, len(ids))
    request = FrontRequest(ids, style, 1.0, VOICE)
    clock = time.perf_counter if place.is_cuda else time.process_time
    return [
        StepCost(kind, rows, round(1000 * _least_s(work, clock) / rows, 1))
        for kind, rows, work in _works(network, request)
    ]


def step_table(costs: list[StepCost]) -> str:
    header = ("a row's time (ms)", *(f"{rows} in a step" for rows in ROWS))
    kinds = dict.fromkeys(cost.kind for cost in costs)
    rows = [[kind, *(f"{cost.row_ms:.1f}" for cost in costs if cost.kind == kind)] for kind in kinds]
    return markdown(header, rows)


def _works(
    network: KokoroTorchNetwork, request: FrontRequest
) -> Iterator[tuple[str, int, Callable[[], object]]]:
    (clause,) = network.front_step([request])
    for rows in ROWS:
        yield "front", rows, partial(network.front_step, [request] * rows)
    for frames in (16, 32):
        window = WindowRequest(clause, FIRST_FRAME, FIRST_FRAME + frames + 1)
        for rows in ROWS:
            yield f"window of {frames} frames", rows, partial(network.window_step, [window] * rows)


def _least_s(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """The least of a few times, after one that does not count."""
    work()
    spent = []
    for _ in range(TIMES):
        begun_s = clock()
        work()
        spent.append(clock() - begun_s)
    return min(spent)

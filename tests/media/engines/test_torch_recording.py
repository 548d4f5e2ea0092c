"""Steps that are recorded: what they make is what is computed, whatever the numbers, and nothing but a GPU is
needed for them.

CUDA graphs need a GPU. What has to be true of a step for one to hold does not: that nothing in it depends on
the numbers that come (one trace of it does for all of them), and that nothing is read back, or brought from
elsewhere (all of it can be done on a device that holds no numbers).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from media.engines import kokoro_torch_network
from media.engines.kokoro_norms import KokoroNorms
from media.engines.slot_decoder import Reading, SlotDecoder
from media.engines.torch_recording import CudaGraphs, Record, RecordedStep, Step, at_least, recorded

SLOTS = 8
CONTEXT_TOKENS = 512
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def traced() -> Iterator[Record]:
    """Records as a CUDA graph does, by torch's tracer: what depends on numbers it does not take. Inputs are
    copied to where the first ones were."""
    with torch._dynamo.config.patch(recompile_limit=64):
        yield _traced
    torch._dynamo.reset()


def _traced(step: Step, inputs: Sequence[torch.Tensor]) -> Step:
    held = [each.clone(memory_format=torch.contiguous_format) for each in inputs]
    made = torch.compile(step, backend="eager", fullgraph=True, dynamic=False)
    made(*held)

    def replayed(*given: torch.Tensor) -> torch.Tensor:
        for mine, new in zip(held, given, strict=True):
            mine.copy_(new)
        answer: torch.Tensor = made(*held)
        return answer

    return replayed


class Elsewhere(TorchDispatchMode):
    """Notes what is not computed on the device without numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.computed += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, answer)) if isinstance(leaf, torch.Tensor)]
        if any(not tensor.is_meta for tensor in tensors):
            self.noted.append(str(func))
        return answer

    def record(self, step: Step, inputs: Sequence[torch.Tensor]) -> Step:
        with self:
            step(*inputs)
        return step


def test_sizes() -> None:
    assert [at_least(count, (16, 32)) for count in (1, 16, 17, 32, 33, 65)] == [16, 16, 32, 32, 64, 96]


def test_nothing_is_recorded_amid_calls() -> None:
    asked: list[tuple[int, ...]] = []

    def record(step: Step, inputs: Sequence[torch.Tensor]) -> Step:
        asked.append(tuple(inputs[0].shape))
        return lambda *given: step(*given) + 100  # to be told from what is computed

    step = RecordedStep(lambda factor, values: values * factor, record)
    two, three = torch.ones(2), torch.ones(3)
    assert step(2, two).tolist() == [2, 2]
    with step.recording():
        assert step(2, two).tolist() == [102, 102]
    assert step(2, two + 1).tolist() == [104, 104]
    assert step(3, two).tolist() == [3, 3]
    assert step(2, three).tolist() == [2, 2, 2]
    assert (asked, step.recordings, step.replays) == ([(2,)], 1, 2)


def test_what_cannot_be_recorded_is_computed_as_it_is_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def record(_step: Step, inputs: Sequence[torch.Tensor]) -> Step:
        if len(inputs[0]) > 2:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return lambda *_given: torch.zeros(1)

    steps = [RecordedStep(lambda _fixed, values: values + 1, record) for _ in range(2)]

    def warm_up() -> None:
        for step in steps:
            for length in range(1, 4):
                step(None, torch.ones(length))

    with caplog.at_level(logging.WARNING):
        recorded("an engine", steps, warm_up)
    (line,) = caplog.records
    assert (line.message, line.__dict__["engine"]) == ("CUDA graphs are not used", "an engine")
    assert line.__dict__["error"] == "operation not permitted when stream is capturing"
    assert [step.recordings for step in steps] == [0, 0]
    assert [step(None, torch.ones(1)).tolist() for step in steps] == [[2], [2]]


# Kokoro


@pytest.fixture
def few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes seconds to trace. A single row is padded to two."""
    monkeypatch.setattr(kokoro_torch_network, "_ROWS", (2,))
    monkeypatch.setattr(kokoro_torch_network, "_PAIRS", (32,))
    monkeypatch.setattr(kokoro_torch_network, "_WHOLE_FRAMES", (64,))
    monkeypatch.setattr(kokoro_torch_network, "_RECORDED_WHOLE_FRAMES", (64,))
    monkeypatch.setattr(kokoro_torch_network, "WINDOW_FRAMES", (16,))


def kokoro(record: Record | None, device: str = "cpu") -> kokoro_torch_network.KokoroTorchNetwork:
    from tests.media.engines.kokoro_torch_model import small_model

    model = small_model().to(device)
    return kokoro_torch_network.KokoroTorchNetwork(model, KokoroNorms(), fixed_shapes=True, record=record)


def assert_speaks_alike(
    recorded_one: kokoro_torch_network.KokoroTorchNetwork,
    computed: kokoro_torch_network.KokoroTorchNetwork,
    share: float,
) -> None:
    """Features, windows within a clause and at its end, and whole clauses, alone and together. They differ by
    less than this share of the loudest sample."""
    from tests.media.engines.test_kokoro_torch_network import front_requests, with_own_statistics

    requests = front_requests()[:2]
    model = computed._model
    clauses = [with_own_statistics(model, clause) for clause in computed.front_step(requests)]
    for one, other in zip(recorded_one.front_step(requests), clauses, strict=True):
        torch.testing.assert_close(one.features, other.features, rtol=1e-3, atol=1e-3)
    short = min(clauses, key=lambda clause: clause.frames)
    spans = [(clauses[0], 0, 17), (clauses[0], 8, 25), (short, short.frames - 5, short.frames)]
    windows = [kokoro_torch_network.WindowRequest(*span) for span in spans]
    for batch in (windows[:1], windows[1:]):
        made = zip(recorded_one.window_step(batch), computed.window_step(batch), strict=True)
        assert all(np.abs(one - other).max() < share * np.abs(other).max() for one, other in made)
    for whole in (clauses[:1], clauses):
        made = zip(recorded_one.whole_step(whole), computed.whole_step(whole), strict=True)
        assert all(np.abs(one - other).max() < share * np.abs(other).max() for one, other in made)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("few_sizes")
def test_kokoro_s_recorded_steps_make_what_is_computed(traced: Record) -> None:
    pytest.importorskip("kokoro")
    network = kokoro(traced)
    network.warm_up(2)
    decoder, windows, wholes = network.recorded_steps
    # Of windows full and padded ones.
    assert (decoder.recordings, windows.recordings, wholes.recordings) == (1, 2, 1)
    before = [step.replays for step in network.recorded_steps]
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_speaks_alike(network, kokoro(None), 1e-5)
    after = [step.replays for step in network.recorded_steps]
    assert [late - early for early, late in zip(before, after, strict=True)] == [1, 2, 2]


def test_kokoro_s_steps_read_nothing_back() -> None:
    pytest.importorskip("kokoro")
    seen = Elsewhere()
    network = kokoro(seen.record, "meta")
    rows, pairs, frames = 2, 32, 25
    norms = network._generator_norms
    channels = sum(module.norm.num_features for module in norms._modules.values())

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(rows, *shape, device="meta")

    counts = torch.zeros(rows, dtype=torch.long, device="meta")
    features, spectra, style = zeros(512, frames), zeros(22, 60 * frames + 1), zeros(128)
    decoder, windows, wholes = network.recorded_steps
    with torch.inference_mode(), decoder.recording(), windows.recording(), wholes.recording():
        decoder(False, zeros(512, pairs), zeros(2 * pairs), zeros(2 * pairs), style, counts)
        for are_full in (False, True):
            windows((21, are_full), features, spectra, zeros(2, channels), counts, counts)
        wholes(False, features, spectra, style, counts)
    assert seen.computed > 1000
    assert not seen.noted


@pytest.mark.gpu
@NO_GPU
def test_kokoro_by_cuda_graphs() -> None:
    pytest.importorskip("kokoro")
    network = kokoro(CudaGraphs("cuda:0"), "cuda:0")
    network.warm_up(2)
    assert all(step.recordings for step in network.recorded_steps), "see the log"
    assert_speaks_alike(network, kokoro(None, "cuda:0"), 1e-2)


# A language model


def decoder(record: Record | None, device: str = "cpu") -> SlotDecoder:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
    )
    model = LlamaForCausalLM(config).eval().to(device)
    return SlotDecoder(
        model, device, slots=SLOTS, context_tokens=CONTEXT_TOKENS, chunk_tokens=16, record=record
    )


def warmed(record: Record, device: str = "cpu") -> SlotDecoder:
    made = decoder(record, device)
    made.step([Reading(0, [1], 0.0)])
    made.warm_up()
    return made


def written(by: SlotDecoder) -> list[list[int]]:
    """Replies of one call, of two, and of four, in slots neither in order nor side by side. One of them
    becomes longer than the fewest keys that a step looks back on."""
    lengths = {5: 3, 1: 40, 2: 250, 7: 5}
    readings = [
        Reading(slot, [1 + slot + at for at in range(length)], 0.0) for slot, length in lengths.items()
    ]
    readings = [Reading(each.slot, [token % 100 for token in each.tokens], 0.0) for each in readings]
    for at in range(50):
        under_way = readings if at > 25 else readings[: 1 + at // 10]
        for reading, answer in zip(under_way, by.step(under_way), strict=True):
            if answer is not None:
                assert isinstance(answer, int)
                reading.tokens.append(answer)
    return [reading.tokens for reading in readings]


def test_a_language_model_s_recorded_steps_write_what_is_computed(traced: Record) -> None:
    by_records = warmed(traced)
    # One row, two, or all; by two lengths.
    assert by_records.recorded_step.recordings == 6
    before = by_records.recorded_step.replays
    with torch.compiler.set_stance("fail_on_recompile"):
        replies = written(by_records)
    assert by_records.recorded_step.replays - before > 20
    assert replies == written(decoder(None))


def test_a_language_model_s_steps_read_nothing_back() -> None:
    seen = Elsewhere()
    made = decoder(seen.record, "meta")
    with torch.inference_mode():  # makes the slots
        made.recorded_step((True, CONTEXT_TOKENS), made._on_device([[0, 0, 0, 0]] * SLOTS))
    made.warm_up()
    assert made.recorded_step.recordings == 6
    assert seen.computed > 500
    assert not seen.noted


def test_a_language_model_that_cannot_be_recorded_writes_all_the_same() -> None:
    def record(_step: Step, _inputs: Sequence[torch.Tensor]) -> Step:
        raise RuntimeError("no graphs here")

    by_itself = warmed(record)
    assert written(by_itself) == written(decoder(None))
    assert by_itself.recorded_step.replays == 0


@pytest.mark.gpu
@NO_GPU
def test_a_language_model_by_cuda_graphs() -> None:
    by_graphs = warmed(CudaGraphs("cuda:0"), "cuda:0")
    assert by_graphs.recorded_step.recordings == 6, "see the log"
    assert written(by_graphs) == written(decoder(None, "cuda:0"))
    assert by_graphs.recorded_step.replays > 20

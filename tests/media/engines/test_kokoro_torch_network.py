"""Kokoro on torch, with random weights: several clauses in one forward are each what they are alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import FRAME_SAMPLES
from media.engines.kokoro_torch_front import fronts
from media.engines.kokoro_torch_generator import samples_of, source_spectrum
from media.engines.kokoro_torch_network import (
    WINDOW_FRAMES,
    FrontRequest,
    KokoroTorchNetwork,
    TorchClause,
    WindowRequest,
    whole_size,
)
from media.engines.kokoro_torch_norms import GeneratorNorms
from media.engines.kokoro_torch_rows import Rows, affine, measured
from tests.media.engines.kokoro_torch_model import SPEEDS, small_model, styles, tokens

SEES_FRAMES = 14
"""How far the generator sees to each side: ten frames in its first stage, two in its second, and a bit."""


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def network(model: Any) -> KokoroTorchNetwork:
    return KokoroTorchNetwork(model, KokoroNorms(), fixed_shapes=False)


@pytest.fixture(scope="module")
def clauses(network: KokoroTorchNetwork) -> list[TorchClause]:
    return network.front_step(front_requests())


@pytest.fixture
def double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def front_requests() -> list[FrontRequest]:
    rows = styles().numpy()
    return [
        FrontRequest(ids, rows[at : at + 1], speed, "af_heart")
        for at, (ids, speed) in enumerate(zip(tokens(), SPEEDS, strict=True))
    ]


@pytest.mark.usefixtures("double_precision")
def test_a_batch_is_what_the_package_s_own_forward_makes_of_each_clause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In double precision, where only a mistake makes a difference. Its noise is left out."""
    model = small_model(folded=False).double()
    stft = model.decoder.generator.stft
    stft.window = stft.window.double()
    monkeypatch.setattr(torch, "randn_like", lambda values: torch.zeros_like(values))
    rows, speeds = styles(2).double(), SPEEDS[:2]
    padded = [[0, *ids, 0] for ids in tokens()[:2]]
    alone = [
        model.forward_with_tokens(torch.tensor([ids]), rows[at : at + 1], speed)
        for at, (ids, speed) in enumerate(zip(padded, speeds, strict=True))
    ]
    with torch.inference_mode():
        made = fronts(
            model,
            padded,
            rows,
            torch.tensor(speeds),
            tokens=32,
            padded_pairs=lambda pairs: -(-pairs // 16) * 16,
        )
        generator = model.decoder.generator
        spectrum = source_spectrum(generator, made.pitch, made.rows)
        together = samples_of(generator, made.features, spectrum, measured(made.rows, made.style), made.rows)
    assert (made.pitch > 10).any(), "without a voice the source signal is no test"
    assert not made.rows.are_full
    for at, (samples, durations) in enumerate(alone):
        ids = padded[at]
        assert made.durations[at, : len(ids)].tolist() == durations.tolist()
        assert not made.durations[at, len(ids) :].any()
        own = together[at, : len(samples)]
        assert len(samples) == 2 * FRAME_SAMPLES * int(durations.sum())
        assert float((own - samples).abs().max()) < 1e-8 * float(samples.abs().max())


def test_fronts_in_one_step_are_what_they_are_alone(
    network: KokoroTorchNetwork, clauses: list[TorchClause]
) -> None:
    for request, together in zip(front_requests(), clauses, strict=True):
        (alone,) = network.front_step([request])
        assert together.durations.tolist() == alone.durations.tolist()
        assert together.frames == alone.frames == len(together.loudness)
        assert together.loudness == pytest.approx(alone.loudness, abs=1e-4)
        for one, other in ((together.features, alone.features), (together.norms, alone.norms)):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_whole_clauses_in_one_step_are_what_they_are_alone(
    network: KokoroTorchNetwork, clauses: list[TorchClause]
) -> None:
    for clause, together in zip(clauses, network.whole_step(clauses), strict=True):
        (alone,) = network.whole_step([clause])
        assert len(together) == len(alone) == clause.frames * FRAME_SAMPLES
        assert_alike(together, alone, 1e-4)


def test_windows_are_the_whole_where_the_statistics_are_the_clause_s(
    model: Any, clauses: list[TorchClause]
) -> None:
    """With as much context as the generator sees: then a window lacks nothing."""
    network = KokoroTorchNetwork(
        model,
        KokoroNorms(),
        fixed_shapes=False,
        context_frames=SEES_FRAMES,
        late_context_frames=3,
    )
    exact = [with_own_statistics(model, clause) for clause in clauses]
    wholes = network.whole_step(exact)
    size = WINDOW_FRAMES[0]
    windows = [
        WindowRequest(clause, first, min(first + size, clause.frames))
        for clause in exact
        for first in range(0, clause.frames, size)
    ]
    assert len(windows) > len(exact)
    made = [
        samples for at in range(0, len(windows), 3) for samples in network.window_step(windows[at : at + 3])
    ]
    for window, samples in zip(windows, made, strict=True):
        whole = wholes[next(at for at, clause in enumerate(exact) if clause is window.clause)]
        assert_alike(samples, whole[window.first * FRAME_SAMPLES : window.stop * FRAME_SAMPLES], 1e-3)


def test_windows_in_one_step_are_what_they_are_alone(
    network: KokoroTorchNetwork, model: Any, clauses: list[TorchClause]
) -> None:
    """At the beginning, in the middle and at the end, and of a clause that is shorter than its window."""
    first, shortest, second = [with_own_statistics(model, clause) for clause in clauses]
    windows = [
        WindowRequest(first, 0, 17),
        WindowRequest(first, 9, 26),
        WindowRequest(second, second.frames - 11, second.frames),
        WindowRequest(shortest, 0, min(17, shortest.frames)),
    ]
    assert shortest.frames < WINDOW_FRAMES[0] + 9
    assert {window.size for window in windows} == {WINDOW_FRAMES[0]}
    for window, together in zip(windows, network.window_step(windows), strict=True):
        (alone,) = network.window_step([window])
        assert len(together) == (window.stop - window.first) * FRAME_SAMPLES
        assert_alike(together, alone, 1e-4)


def test_fixed_shapes_change_nothing(
    network: KokoroTorchNetwork, model: Any, clauses: list[TorchClause]
) -> None:
    fixed = KokoroTorchNetwork(model, KokoroNorms(), fixed_shapes=True)
    padded = fixed.front_step(front_requests())
    assert [clause.frames for clause in padded] == [clause.frames for clause in clauses]
    window = WindowRequest(with_own_statistics(model, clauses[0]), 4, 12)
    assert_alike(fixed.window_step([window] * 3)[2], network.window_step([window])[0], 1e-4)
    assert_alike(fixed.whole_step(clauses[:1])[0], network.whole_step(clauses[:1])[0], 1e-4)


def test_noise_is_a_request_s_own(model: Any) -> None:
    """The same from the same generator, whoever is in the batch and however far it is padded."""
    generator = model.decoder.generator
    pitch = torch.full((2, 12), 150.0)
    pitch[0, 7:] = 0
    rows = Rows.of([7, 12], 12, pitch.device)

    def drawn(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    with torch.inference_mode():
        together = source_spectrum(generator, pitch, rows, drawn(1, 2))
        alone = source_spectrum(generator, pitch[:1, :7], Rows.of([7], 7, pitch.device), drawn(1))
        silent = source_spectrum(generator, pitch[:1, :7], Rows.of([7], 7, pitch.device))
    magnitudes = slice(0, 11)  # the phases of what is next to nothing are any
    assert torch.allclose(together[:1, magnitudes, : alone.shape[2]], alone[:, magnitudes], atol=1e-5)
    assert not torch.allclose(alone[:, magnitudes], silent[:, magnitudes], atol=1e-3)


def test_clauses_of_like_length_are_of_one_size(clauses: list[TorchClause]) -> None:
    assert len({whole_size(clause) for clause in clauses}) == 1


def with_own_statistics(model: Any, clause: TorchClause) -> TorchClause:
    """The clause with what its norms measure, instead of what is predicted of them (of another network)."""
    generator = model.decoder.generator
    rows = Rows.of([clause.frames], clause.frames, clause.features.device)
    measures: dict[torch.nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def norm(module: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
        scale, offset = measures[module] = affine(module, clause.style[None], *rows.statistics(values))
        return torch.addcmul(offset[..., None], values, scale[..., None])

    with torch.inference_mode():
        samples_of(generator, clause.features[None], clause.spectrum[None], norm, rows)
        return replace(clause, norms=GeneratorNorms(generator).joined(measures)[0])


def assert_alike(one: Any, other: Any, share: float) -> None:
    """They differ by less than this share of the louder one's peak."""
    assert np.abs(one - other).max() < share * np.abs(other).max()

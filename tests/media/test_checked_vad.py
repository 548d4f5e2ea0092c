"""Voice activity that goes astray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from media.audio import Audio
from media.checked_vad import CheckedVad
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.errors import EngineError
from tests import virtual_time
from tests.scripted import quiet

WINDOW = quiet(VAD_WINDOW_SAMPLES / 16_000)
NAN = float("nan")


@dataclass
class Astray:
    """Gives these, one after the other, until it is told to forget."""

    gives: Sequence[float]
    afterwards: float = 0.5
    pushed: int = 0
    resets: int = 0

    async def push(self, window: Audio) -> float:
        self.pushed += 1
        return self.gives[self.pushed - 1] if self.pushed <= len(self.gives) else self.afterwards

    def reset(self) -> None:
        self.resets += 1


async def heard(vad: CheckedVad, windows: int) -> list[float]:
    return [await vad.push(WINDOW) for _ in range(windows)]


@pytest.mark.parametrize("garbage", [NAN, -0.01, 1.01, float("inf")])
def test_it_forgets_what_it_heard_and_goes_on(garbage: float) -> None:
    async def main() -> None:
        stream = Astray((0.0, 1.0, garbage, 0.5, garbage))
        assert await heard(CheckedVad(stream), 6) == [0.0, 1.0, 0.0, 0.5, 0.0, 0.5]
        assert stream.resets == 2

    virtual_time.run(main())


def test_one_that_gives_nothing_else_is_an_engines_error() -> None:
    async def main() -> None:
        vad = CheckedVad(Astray((), afterwards=NAN))
        assert await heard(vad, 1) == [0.0]
        with pytest.raises(EngineError, match="gives no probabilities") as raised:
            await vad.push(WINDOW)
        assert raised.value.code == "engine_garbage"

    virtual_time.run(main())


def test_forgetting_is_passed_on() -> None:
    stream = Astray(())
    CheckedVad(stream).reset()
    assert stream.resets == 1

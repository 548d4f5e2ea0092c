"""Is the turn over? Smart Turn v3.2, which hears prosody and words through Whisper tiny's encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.inference import InferenceThreads
from media.engines.log_mel import log_mel
from media.engines.onnx import ONNX_ERRORS, inference_session
from media.engines.starting import closed_unless_started
from media.errors import EngineError

_HEARD_SAMPLES = 8 * SPEECH_RATE_HZ
"""The model hears the last 8 s; a shorter turn stands at their end, behind silence."""


class SmartTurn:
    """The model, shared by all calls: judgements wait for each other.

    Args:
        model: `smart-turn-v3.2-cpu.onnx`.
        threads: for one judgement.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        self._model = model
        self._threads = threads
        self._inference = InferenceThreads("smart-turn", failures=ONNX_ERRORS)
        self._session: ort.InferenceSession | None = None

    @property
    def name(self) -> str:
        return "smart-turn-v3.2"

    async def start(self) -> None:
        if self._session is not None:
            return
        async with closed_unless_started(self, self._inference):
            self._session = await self._inference.run(
                lambda: inference_session(self._model, threads=self._threads)
            )
            await self.judge(Audio(np.zeros(SPEECH_RATE_HZ, np.float32), SPEECH_RATE_HZ))

    async def close(self) -> None:
        await self._inference.close()
        self._session = None

    async def judge(self, turn: Audio) -> float:
        """P(the turn is complete).

        Raises:
            ValueError: another rate than 16 kHz.
            EngineError: ONNX Runtime failed, or the engine is not started.
        """
        if turn.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"a turn is judged at {SPEECH_RATE_HZ} Hz; got {turn.rate_hz} Hz")
        session = self._session
        if session is None:
            raise EngineError("The engine smart-turn is not started.")

        def work() -> float:
            (probability,) = session.run(["logits"], {"input_features": features(turn)[None]})
            return float(probability[0, 0])

        return await self._inference.run(work)


def features(turn: Audio) -> npt.NDArray[np.float32]:
    """The last 8 s at zero mean and unit variance, as log-mel (80, 800): what the model was trained on."""
    samples = turn.samples[-_HEARD_SAMPLES:]
    heard = Audio(samples, SPEECH_RATE_HZ).as_float32()
    padded = np.pad(heard, (_HEARD_SAMPLES - len(heard), 0))
    return log_mel((padded - padded.mean()) / np.sqrt(padded.var() + np.float32(1e-7)))

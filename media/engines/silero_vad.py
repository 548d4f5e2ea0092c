"""Voice activity with Silero VAD v6 (16 kHz)."""

from __future__ import annotations

from pathlib import Path

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.inference import InferenceThreads
from media.engines.model_files import damaged, require_files
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.engines.silero_network import SileroNetwork, SileroState
from media.errors import EngineError


class SileroVad:
    """The model, shared by all calls; each call's state is in its `SileroVadStream`."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._network: SileroNetwork | None = None

    @property
    def name(self) -> str:
        return "silero-vad"

    async def start(self) -> None:
        """Reads the model.

        Raises:
            ModelMissing: the file is absent, truncated, or another model.
        """
        if self._network is not None:
            return
        loading = InferenceThreads("silero-vad")
        try:
            self._network = await loading.run(self._load)
        finally:
            await loading.close()

    async def close(self) -> None:
        self._network = None

    def open(self) -> SileroVadStream:
        """A caller's stream.

        Raises:
            EngineError: the engine is not started.
        """
        if self._network is None:
            raise EngineError("The engine silero-vad is not started.")
        return SileroVadStream(self._network)

    def _load(self) -> SileroNetwork:
        require_files(self._model)
        try:
            return SileroNetwork(self._model.read_bytes())
        except ValueError as error:
            raise damaged(self._model) from error


class SileroVadStream:
    def __init__(self, network: SileroNetwork) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        self._state = SileroState(self._network)

    async def push(self, window: Audio) -> float:
        """P(speech) of the next window.

        Runs on the event loop, on purpose: a window takes 0.05 to 0.1 ms (of the 32 ms it covers), the way to
        a thread and back costs another 0.2 ms and puts the decision behind whatever that thread does.

        Raises:
            ValueError: another length or rate than a window's.
        """
        if len(window) != VAD_WINDOW_SAMPLES or window.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(
                f"a window is {VAD_WINDOW_SAMPLES} samples at {SPEECH_RATE_HZ} Hz; "
                f"got {len(window)} at {window.rate_hz} Hz"
            )
        return self._state.push(window.samples)

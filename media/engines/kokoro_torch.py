"""Kokoro-82M on torch: the text-to-speech for many calls at once, on a GPU.

What several calls ask for at the same time is made in one step: their fronts together, and the windows of one
size together (`kokoro_torch_network`, `batcher`). Which windows a clause is made in, and how it is heard, is
the same as with the embedded Kokoro (`kokoro_plan`, `kokoro_clause`).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from media.clock import thread_time_s
from media.engines.batcher import BatchCounts, Batcher
from media.engines.g2p import pronounce
from media.engines.gpu_pool import gave_back, took
from media.engines.inference import InferenceThreads, Urgency
from media.engines.kokoro_clause import RATE_HZ, ClauseSound
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import FRAME_SAMPLES, Floats
from media.engines.kokoro_plan import Pace, Piece, pieces_of, plausible
from media.engines.kokoro_request import Seams, heard_runs, in_context, require_speed
from media.engines.kokoro_torch_network import (
    WINDOW_FRAMES,
    FrontRequest,
    KokoroTorchNetwork,
    TorchClause,
    WindowRequest,
    whole_size,
)
from media.engines.kokoro_voice_files import KokoroVoiceFiles
from media.engines.kokoro_voices import VOICE_NAMES
from media.engines.memory import give_back_freed
from media.engines.protocols import SpeechChunk, TtsRequest, Voice
from media.engines.starting import closed_unless_started
from media.engines.torch_device import give_back_gpu_memory, place_of
from media.engines.torch_recording import CudaGraphs
from media.errors import EngineError

_WARM_UP = "Let me think about that for you."
_RELAXED_S = 0.4
"""A window that comes after so much unheard sound lets the first sound of other calls go before it."""

log = logging.getLogger(__name__)


class KokoroTorch:
    """The TTS port, on a GPU, or where there is none on the CPU.

    Args:
        load: gives the model on the CPU, for the engine's thread: see `kokoro_torch_weights`.
        voices_dir: see `KokoroVoiceFiles`.
        device: `auto`, `cuda`, `cuda:1` or `cpu`.
        batch: how many clauses, or windows of clauses, are made in one step at most.
        compiled: steps go by CUDA graphs, on a GPU: quicker, and some seconds of warming up.
        blends: mixtures of voices that are offered beside the 54 (see `kokoro_blend`).
        model_name: for `/status`.

    Raises:
        VoiceUnavailable: a mixture is none.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        voices_dir: Path,
        *,
        device: str = "auto",
        batch: int = 8,
        compiled: bool = False,
        blends: Sequence[str] = (),
        model_name: str = "Kokoro-82M",
    ) -> None:
        self._load_model = load
        self._voices = KokoroVoiceFiles(voices_dir, blends)
        self._device = device
        self._batch = batch
        self._compiled = compiled
        self._model_name = model_name
        self._inference = InferenceThreads("kokoro-torch")
        self._fronts: Batcher[FrontRequest, TorchClause] = Batcher(
            self._inference, lambda requests: self._started().front_step(requests), largest=batch
        )
        self._windows: Batcher[WindowRequest, Floats] = Batcher(
            self._inference,
            lambda requests: self._started().window_step(requests),
            largest=batch,
            alike=lambda request: request.size,
        )
        self._wholes: Batcher[TorchClause, Floats] = Batcher(
            self._inference,
            lambda clauses: self._started().whole_step(clauses),
            largest=batch,
            alike=whole_size,
        )
        self._network: KokoroTorchNetwork | None = None
        self._pace = Pace()
        self._seams = Seams()
        self._requests = itertools.count()

    @property
    def name(self) -> str:
        return f"kokoro-torch ({self._model_name})"

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._voices.voices

    @property
    def steps(self) -> Mapping[str, BatchCounts]:
        """How many steps of each kind were computed, and for how many requests."""
        return {
            "front": self._fronts.counts,
            "window": self._windows.counts,
            "whole": self._wholes.counts,
        }

    async def start(self) -> None:
        """Loads the model and speaks a sentence to warm it, in windows and whole.

        Raises:
            ModelMissing: the model or a voice is absent or damaged.
            EngineError: a package or the device is not there, or espeak-ng cannot be loaded.
        """
        if self._network is not None:
            return
        async with closed_unless_started(self, self._inference):
            self._network = await self._inference.run(self._load)
            for lead_s in (0.0, 600.0):
                async for _ in self.speak(TtsRequest(_WARM_UP, VOICE_NAMES[0], lead_s=lead_s)):
                    pass
        self._pace = Pace()  # the first time is no measure

    async def close(self) -> None:
        await self._inference.close()
        self._network = None
        gave_back(self.name)
        give_back_gpu_memory()
        give_back_freed()

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause.

        Nothing comes out of a text without anything speakable. Closing the generator takes what waits out of
        its batches; a step that is under way ends for the others.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            CallerError: the speed is out of range.
            EngineError: the backend failed, or was not started.
        """
        language = self._voices.language_of(request.voice)
        require_speed(request.speed)
        self._started()
        call = str(next(self._requests))
        needed_at_s = thread_time_s() + request.lead_s
        spoken_s = 0.0
        words = await self._inference.run(partial(pronounce, in_context(request), language))
        for run, first, end in heard_runs(request, words):
            token_ids = run.token_ids
            style = self._voices.style(request.voice, len(token_ids))
            front = FrontRequest(token_ids, style, request.speed, request.voice)
            lead_s = needed_at_s + spoken_s - thread_time_s()
            urgency = Urgency.SOON if lead_s > _RELAXED_S else Urgency.NOW
            clause = await self._fronts.run(front, urgency=urgency, call=call)
            joins = self._seams.before(request) if first else None
            sound = ClauseSound(clause, run, request.voice, request.speed, spoken_s, first, end, joins)
            for piece in pieces_of(
                sound, self._pace, needed_at_s + spoken_s, sizes=WINDOW_FRAMES, relaxed_s=_RELAXED_S
            ):
                chunk = await self._made(clause, sound, piece, call)
                if chunk is not None:
                    yield chunk
            spoken_s += sound.spoken_s
            if sound.goes_on:
                self._seams.keep(request, sound.seam)

    async def _made(
        self, clause: TorchClause, sound: ClauseSound, piece: Piece, call: str
    ) -> SpeechChunk | None:
        begun_s = thread_time_s()
        if piece.is_whole:
            samples = await self._wholes.run(clause, urgency=piece.urgency, call=call)
            self._pace.whole_took(thread_time_s() - begun_s, clause.frames)
            return sound.whole(samples)
        # One frame more than is heard now: the next window is faded in over it.
        stop = piece.stop if piece.is_last else min(piece.stop + 1, clause.frames)
        if sound.exact is None:
            window = WindowRequest(clause, piece.first, stop)
            samples = await self._windows.run(window, urgency=piece.urgency, call=call)
            self._pace.window_took(thread_time_s() - begun_s, piece.stop - piece.first)
            if not plausible(samples):
                log.warning("a window was implausible, its clause is spoken whole")
                sound.exact = await self._wholes.run(clause, urgency=piece.urgency, call=call)
        if sound.exact is not None:
            samples = sound.exact[piece.first * FRAME_SAMPLES : stop * FRAME_SAMPLES]
        return sound.window(piece.first, samples, last=piece.is_last)

    def _started(self) -> KokoroTorchNetwork:
        """Raises:
        EngineError: the engine is not.
        """
        if self._network is None:
            raise EngineError(f"The engine {self.name} is not started.", code="engine_closed")
        return self._network

    def _load(self) -> KokoroTorchNetwork:
        self._voices.require()
        place = place_of(self._device)
        model = self._load_model().to(place.device)
        took(self.name, (*model.parameters(), *model.buffers()))
        give_back_freed()
        # Single precision everywhere: the sines' phases and the spectra need it, and 82 million parameters
        # are few.
        record = CudaGraphs(place.device) if self._compiled and place.is_cuda else None
        network = KokoroTorchNetwork(model, KokoroNorms(), fixed_shapes=place.is_cuda, record=record)
        network.warm_up(self._batch)
        return network

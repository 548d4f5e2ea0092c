"""Voxtral Realtime on transformers: a stream of sound to a stream of tokens. Blocking.

The model (Voxtral-Mini-4B-Realtime) writes a token for each 80 ms that it hears, 480 ms behind: a piece of a
word, or one that stands for none. `generate` can be fed by a generator, but then it has a thread for each
call, keeps a stream's state in the model, and ends when the sound does. Here the same steps are taken one by
one. So streams take turns on one thread, and what was said so far can be finished, by as much silence as the
model was trained to end with, on a copy of the stream's state: the stream itself goes on where it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import VoxtralRealtimeForConditionalGeneration, VoxtralRealtimeProcessor

from media.engines.hub_model import load_from_hub
from media.engines.torch_device import TorchPlace, give_back_gpu_memory

SETTING = "model.name"


class RealtimeModel:
    """A loaded model, and how it wants to be fed.

    Args:
        model: a hub's repository, or a directory with `config.json`, weights, `processor_config.json` and
            `tekken.json`.
        place: where to compute.

    Attributes:
        token_samples: of sound for each token.
        overlap_samples: of sound that a piece shares with the next one.
        first_samples: of sound that the first token needs.
        padding_samples: of silence behind the last word.

    Raises:
        ModelMissing: the model is not there.
        EngineError: it cannot be loaded, or not here.
    """

    def __init__(self, model: str, place: TorchPlace) -> None:
        self._place = place
        processor: Any = load_from_hub(model, SETTING, VoxtralRealtimeProcessor.from_pretrained)
        self._processor = processor
        self._model: Any = load_from_hub(model, SETTING, lambda where: _load(where, place))
        features = processor.feature_extractor
        self.token_samples = int(processor.raw_audio_length_per_tok)
        self.overlap_samples = int(features.win_length)
        self.first_samples = int(processor.num_samples_first_audio_chunk)
        self.first_ends = int(processor.num_mel_frames_first_audio_chunk * features.hop_length)
        self.padding_samples = int(processor.num_right_pad_tokens) * self.token_samples

    def close(self) -> None:
        self._model = None
        give_back_gpu_memory()

    def text_of(self, tokens: list[int]) -> str:
        said: str = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return said.strip()

    def begin(self, samples: npt.NDArray[np.float32]) -> StreamState:
        """A stream that has heard its first samples, and has written its first token."""
        first = self._processor(samples, is_streaming=True, is_first_audio_chunk=True, return_tensors="pt")
        state = StreamState()
        heard = self._encode(state, first["input_features"])
        self._write(state, first["input_ids"].to(self._place.device), heard)
        return state

    def hear(self, state: StreamState, samples: npt.NDArray[np.float32]) -> list[Any]:
        """What the encoder makes of some tokens' sound: an item a token."""
        features = self._processor.feature_extractor([samples], sampling_rate=16_000, center=False)
        heard = self._encode(state, features["input_features"])
        return list(heard.split(1, dim=1))

    def write(self, state: StreamState, heard: Any) -> None:
        """One token more."""
        self._write(state, torch.tensor([[state.tokens[-1]]], device=self._place.device), heard)

    def _encode(self, state: StreamState, features: Any) -> Any:
        out = self._model.model.get_audio_features(
            input_features=features.to(device=self._place.device, dtype=self._place.dtype),
            cache=state.encoder_cache,
            padding_cache=state.padding_cache,
            use_cache=True,
            return_dict=True,
        )
        state.encoder_cache, state.padding_cache = out.cache, out.padding_cache
        return out.pooler_output

    def _write(self, state: StreamState, tokens: Any, heard: Any) -> None:
        model = self._model.model
        embedded = model.get_input_embeddings()(tokens) + heard
        delay = torch.full(
            (1,), self._processor.num_delay_tokens, device=embedded.device, dtype=embedded.dtype
        )
        out = model.language_model(
            inputs_embeds=embedded,
            cache=state.cache,
            use_cache=True,
            t_cond=model.time_embedding(delay)[None, ...],
        )
        state.cache = out.cache
        state.tokens.append(int(self._model.lm_head(out.last_hidden_state[:, -1]).argmax()))


@dataclass(slots=True)
class StreamState:
    """What a stream remembers."""

    tokens: list[int] = field(default_factory=list)
    cache: Any = None
    encoder_cache: Any = None
    padding_cache: Any = None


class VoxtralStream:
    """One stream of speech. Takes one caller at a time."""

    def __init__(self, model: RealtimeModel) -> None:
        self._model = model
        self._sound = np.zeros(0, np.float32)
        """What is still to be heard; what overlaps the last piece comes first."""
        self._samples = 0
        self._state: StreamState | None = None

    @property
    def samples(self) -> int:
        """How much it was given."""
        return self._samples

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self._model.text_of(self._state.tokens) if self._state is not None else ""

    def push(self, samples: npt.NDArray[np.float32]) -> None:
        self._sound = np.concatenate([self._sound, samples])
        self._samples += len(samples)

    def advance(self, most_tokens: int) -> bool:
        """Hears what it was given, or so much of it.

        Returns:
            Whether there is more to be heard.
        """
        with torch.inference_mode():
            if self._state is None:
                if len(self._sound) < self._model.first_samples:
                    return False
                self._begin()
            ready = self._ready_tokens
            if ready:
                self._hear(self._present, min(ready, most_tokens), lambda: True)
            return self._ready_tokens > 0

    def finished_text(self, wanted: Callable[[], bool] = lambda: True) -> str | None:
        """What all says that it was given. More can be pushed afterwards.

        Args:
            wanted: asked between two tokens whether it should go on.

        Returns:
            None where it should not.
        """
        with torch.inference_mode():
            while self.advance(most_tokens=8):
                if not wanted():
                    return None
            ending = copy.deepcopy(self._without_model())
            return ending._end(self._model, wanted)

    def _without_model(self) -> VoxtralStream:
        """A stream to be copied: its state without the weights."""
        bare = copy.copy(self)
        bare._model = None  # type: ignore[assignment]
        return bare

    def _end(self, model: RealtimeModel, wanted: Callable[[], bool]) -> str | None:
        self._model = model
        whole = -(-self._samples // model.token_samples) * model.token_samples
        silence = whole - self._samples + model.padding_samples
        # As offline, where no token follows the last 80 ms. What the last piece overlaps is silent, too.
        self.push(np.zeros(silence + model.overlap_samples, np.float32))
        if self._state is None:
            self._begin()
        left = (whole + model.padding_samples - self._heard_samples) // model.token_samples - 1
        if not self._hear(self._present, left, wanted):
            return None
        return self.text

    @property
    def _present(self) -> StreamState:
        assert self._state is not None, "the stream has begun"
        return self._state

    @property
    def _ready_tokens(self) -> int:
        return max(0, (len(self._sound) - self._model.overlap_samples) // self._model.token_samples)

    @property
    def _heard_samples(self) -> int:
        """Where in the sound the next token begins."""
        return self._samples - len(self._sound) + self._model.overlap_samples // 2

    def _begin(self) -> None:
        self._state = self._model.begin(self._sound[: self._model.first_samples])
        self._sound = self._sound[self._model.first_ends - self._model.overlap_samples // 2 :]

    def _hear(self, state: StreamState, tokens: int, wanted: Callable[[], bool]) -> bool:
        if tokens <= 0:
            return True
        end = tokens * self._model.token_samples
        for heard in self._model.hear(state, self._sound[: end + self._model.overlap_samples]):
            if not wanted():
                return False
            self._model.write(state, heard)
        self._sound = self._sound[end:]
        return True


def _load(where: str, place: TorchPlace) -> Any:
    options: dict[str, Any] = {"dtype": place.dtype}
    if place.is_cuda:
        options["device_map"] = {"": place.device}
    return VoxtralRealtimeForConditionalGeneration.from_pretrained(where, **options).eval()

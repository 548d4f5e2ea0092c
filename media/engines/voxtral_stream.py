"""Voxtral Realtime on transformers: streams of sound to streams of tokens. Blocking.

The model (Voxtral-Mini-4B-Realtime) writes a token for each 80 ms that it hears, 480 ms behind: a piece of a
word, or one that stands for none. `generate` can be fed by a generator, but then it has a thread for each
call, keeps a stream's state in the model, and ends when the sound does. Here the same steps are taken one by
one. So the streams of several calls take theirs together, and what was said so far can be finished, by as
much silence as the model was trained to end with, on a copy of a stream: it goes on itself where it was.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    VoxtralRealtimeConfig,
    VoxtralRealtimeForConditionalGeneration,
    VoxtralRealtimeProcessor,
)

from media.audio import SPEECH_RATE_HZ
from media.engines.hub_model import config_of, load_from_hub, whole
from media.engines.stream_memory import JoinedLookbacks, JoinedPaddings, Lookback
from media.engines.torch_device import TorchPlace, give_back_gpu_memory
from media.errors import EngineError

SETTING = "model.name"

_HEARD_AT_ONCE = 8
"""Tokens. What a stream is behind by is heard in pieces of this; each is written for itself."""


@dataclass(slots=True)
class StreamMemory:
    """What a stream remembers.

    Attributes:
        tokens: that it has written.
        words: what its writing looks back on.
        sounds: what its hearing looks back on.
        paddings: of its hearing's convolutions.
        heard: what is still to be written about, an item a token.
    """

    tokens: list[int] = field(default_factory=list)
    words: Lookback = field(default_factory=Lookback)
    sounds: Lookback = field(default_factory=Lookback)
    paddings: dict[str, Any] = field(default_factory=dict)
    heard: deque[Any] = field(default_factory=deque)

    def copy(self) -> StreamMemory:
        return StreamMemory(
            list(self.tokens),
            self.words.copy(),
            self.sounds.copy(),
            dict(self.paddings),
            deque(self.heard),
        )


class RealtimeModel:
    """A loaded model, and how it wants to be fed. Takes one caller at a time.

    Args:
        model: a hub's repository, or a directory with `config.json`, weights, `processor_config.json` and
            `tekken.json`.
        place: where to compute.

    Attributes:
        token_samples: of sound for each token.
        overlap_samples: of sound that a piece shares with the next one.
        first_samples: of sound that the first token needs.
        first_end: where in it the second one's sound begins, but for what overlaps.
        padding_samples: of silence behind the last word.

    Raises:
        ModelMissing: the model is not there.
        EngineError: it cannot be loaded, or not here.
    """

    def __init__(self, model: str, place: TorchPlace) -> None:
        self._place = place
        config_of(model, SETTING, VoxtralRealtimeConfig.model_type)
        processor: Any = load_from_hub(model, SETTING, VoxtralRealtimeProcessor.from_pretrained)
        self._processor = processor
        self._model: Any = load_from_hub(model, SETTING, lambda where: _load(where, place))
        features = processor.feature_extractor
        self.token_samples = int(processor.raw_audio_length_per_tok)
        self.overlap_samples = int(features.win_length)
        self.first_samples = int(processor.num_samples_first_audio_chunk)
        self.first_end = int(processor.num_mel_frames_first_audio_chunk * features.hop_length)
        self.padding_samples = int(processor.num_right_pad_tokens) * self.token_samples

    @property
    def tensors(self) -> Iterator[Any]:
        """The weights."""
        yield from self._model.parameters()
        yield from self._model.buffers()

    def close(self) -> None:
        self._model = None
        give_back_gpu_memory()

    def text_of(self, tokens: list[int]) -> str:
        said: str = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return said.strip()

    def advance(self, streams: Sequence[VoxtralStream]) -> None:
        """Each of the streams, all of which are `ready`, writes its next token; or, if that fails, none."""
        with ExitStack() as failing:
            for stream in streams:
                failing.callback(stream.restore, stream.copy())
            self._advance(streams)
            failing.pop_all()

    def _advance(self, streams: Sequence[VoxtralStream]) -> None:
        if self._model is None:  # the engine was started again amid a turn
            raise EngineError("The model was unloaded.", code="engine_closed")
        with torch.inference_mode():
            under_way = [stream for stream in streams if stream.memory.tokens]
            for stream in streams:
                if not stream.memory.tokens:
                    self._begin(stream)
            behind: defaultdict[int, list[VoxtralStream]] = defaultdict(list)
            for stream in under_way:
                if not stream.memory.heard:
                    behind[min(_HEARD_AT_ONCE, stream.ready_tokens)].append(stream)
            for tokens, alike in behind.items():
                self._hear(alike, tokens)
            if under_way:
                memories = [stream.memory for stream in under_way]
                last = torch.tensor([[memory.tokens[-1]] for memory in memories], device=self._place.device)
                self._write(memories, last, torch.cat([memory.heard.popleft() for memory in memories]))

    def _begin(self, stream: VoxtralStream) -> None:
        """Hears the first piece, with the silence before it, and writes the first token."""
        first = self._processor(
            stream.take_first(), is_streaming=True, is_first_audio_chunk=True, return_tensors="pt"
        )
        heard = self._encode([stream.memory], first["input_features"])
        self._write([stream.memory], first["input_ids"].to(self._place.device), heard)

    def _hear(self, streams: Sequence[VoxtralStream], tokens: int) -> None:
        """The sound of so many tokens each."""
        sounds = [stream.take(tokens) for stream in streams]
        features = self._processor.feature_extractor(sounds, sampling_rate=SPEECH_RATE_HZ, center=False)
        heard = self._encode([stream.memory for stream in streams], features["input_features"])
        for at, stream in enumerate(streams):
            stream.memory.heard.extend(heard[at : at + 1].split(1, dim=1))

    def _encode(self, memories: Sequence[StreamMemory], features: Any) -> Any:
        """(streams, tokens, size)."""
        model, config = self._model.model, self._model.config
        frames = features.shape[-1] // 2
        lookbacks = [memory.sounds for memory in memories]
        joined = JoinedLookbacks(lookbacks, frames, config.audio_config.sliding_window, self._place.device)
        out = model.audio_tower(
            input_features=features.to(device=self._place.device, dtype=self._place.dtype),
            position_ids=joined.position_ids,
            attention_mask=joined.mask,
            cache=joined,
            padding_cache=JoinedPaddings([memory.paddings for memory in memories]),
            use_cache=True,
            use_padding_cache=True,
            return_dict=True,
        )
        joined.done()
        size = config.audio_config.hidden_size * config.downsample_factor
        return model.multi_modal_projector(out.last_hidden_state.reshape(len(memories), -1, size))

    def _write(self, memories: Sequence[StreamMemory], tokens: Any, heard: Any) -> None:
        model = self._model.model
        embedded = model.get_input_embeddings()(tokens) + heard
        delay = torch.full(
            (1,), self._processor.num_delay_tokens, device=embedded.device, dtype=embedded.dtype
        )
        lookbacks = [memory.words for memory in memories]
        window = self._model.config.text_config.sliding_window
        joined = JoinedLookbacks(lookbacks, tokens.shape[1], window, self._place.device)
        out = model.language_model(
            inputs_embeds=embedded,
            position_ids=joined.position_ids,
            attention_mask=joined.mask,
            cache=joined,
            use_cache=True,
            t_cond=model.time_embedding(delay)[None, ...],
        )
        joined.done()
        written = self._model.lm_head(out.last_hidden_state[:, -1]).argmax(dim=-1).tolist()
        for memory, token in zip(memories, written, strict=True):
            memory.tokens.append(token)


class VoxtralStream:
    """One stream of speech. Takes one caller at a time.

    Attributes:
        memory: what the model keeps of it.
        samples: how much it was given.
    """

    def __init__(self, model: RealtimeModel) -> None:
        self.memory = StreamMemory()
        self.samples = 0
        self._model = model
        self._sound = np.zeros(0, np.float32)
        """What is still to be heard; what overlaps the last piece comes first."""
        self._whole_samples: int | None = None
        """Of one that has ended: where its last token's sound begins, which is not written about."""

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self._model.text_of(self.memory.tokens)

    @property
    def ready(self) -> bool:
        """Whether it can write a token more."""
        return bool(self.memory.heard) or self.ready_tokens > 0

    @property
    def ready_tokens(self) -> int:
        """For how many more tokens there is sound."""
        if not self.memory.tokens:
            return int(len(self._sound) >= self._model.first_samples)
        ready = max(0, (len(self._sound) - self._model.overlap_samples) // self._model.token_samples)
        if self._whole_samples is None:
            return ready
        heard = self.samples - len(self._sound) + self._model.overlap_samples // 2
        return min(ready, (self._whole_samples - heard) // self._model.token_samples)

    def push(self, samples: npt.NDArray[np.float32]) -> None:
        self._sound = np.concatenate([self._sound, samples])
        self.samples += len(samples)

    def take_first(self) -> npt.NDArray[np.float32]:
        """The sound of the first token."""
        first = self._sound[: self._model.first_samples]
        self._sound = self._sound[self._model.first_end - self._model.overlap_samples // 2 :]
        return first

    def take(self, tokens: int) -> npt.NDArray[np.float32]:
        """The sound of the next tokens."""
        end = tokens * self._model.token_samples
        taken, self._sound = self._sound[: end + self._model.overlap_samples], self._sound[end:]
        return taken

    def copy(self) -> VoxtralStream:
        """Another one that has come as far."""
        copy = VoxtralStream(self._model)
        copy.restore(self)
        return copy

    def restore(self, other: VoxtralStream) -> None:
        """Comes as far as the other one."""
        self.memory, self.samples, self._sound = other.memory.copy(), other.samples, other._sound
        self._whole_samples = other._whole_samples

    def ended(self) -> VoxtralStream:
        """A copy of it to which nothing is added but silence: once it is not `ready` any more, it has written
        all that was said, as the model writes it of a whole recording."""
        model, copy = self._model, self.copy()
        whole = -(-self.samples // model.token_samples) * model.token_samples + model.padding_samples
        copy.push(np.zeros(whole - self.samples + model.overlap_samples, np.float32))
        copy._whole_samples = whole - model.token_samples
        return copy

    def finished_text(self) -> str:
        """What all says that it was given, at once."""
        ending = self.ended()
        while ending.ready:
            self._model.advance([ending])
        return ending.text


def _load(where: str, place: TorchPlace) -> Any:
    return whole(VoxtralRealtimeForConditionalGeneration, where, SETTING, **place.loading)

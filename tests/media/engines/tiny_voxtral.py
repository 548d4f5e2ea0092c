"""Voxtral's real classes with a few random weights, and a tokenizer of the real kind with a small vocabulary.

What they write is no language, but it depends on every sample that they hear, on every token that they are
asked with, and on everything in between.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mistral_common
import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    VoxtralRealtimeConfig,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeForConditionalGeneration,
    VoxtralRealtimeProcessor,
    WhisperFeatureExtractor,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

_SPECIAL = 1000
_WORDS = 2000

_NAMES = {
    **dict(
        enumerate(
            (
                *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
                *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
                *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
                "[TOOL_CONTENT]",
            )
        )
    ),
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    32: "[STREAMING_PAD]",
    33: "[STREAMING_WORD]",
    34: "[TRANSCRIBE]",
}
_NAMES_OF_V13 = {21: "[ARGS]", 22: "[CALL_ID]", 35: "[THINK]", 36: "[/THINK]"}

_MEL = {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}
_RECORDINGS = {
    "sampling_rate": 16000,
    "frame_rate": 12.5,
    "audio_encoding_config": _MEL,
    "chunk_length_s": 30.0,
}
_STREAMS = {
    "sampling_rate": 16000,
    "frame_rate": 12.5,
    "audio_encoding_config": _MEL,
    "transcription_format": "streaming",
    "transcription_delay_ms": 480,
    "streaming_look_ahead_ms": 2.5,
    "streaming_look_back_ms": 52.5,
    "streaming_n_left_pad_tokens": 32,
}

_TEXT = {
    "vocab_size": _SPECIAL + _WORDS,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 11,
}
_EAR = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


def sound(duration_s: float, seed: int = 0) -> npt.NDArray[np.int16]:
    """A tone in noise, another one every 0.1 s, so that no two moments are alike."""
    rng = np.random.default_rng(seed)
    samples = round(duration_s * 16_000)
    tones_hz = np.repeat(rng.uniform(100, 4000, samples // 1600 + 1), 1600)[:samples]
    levels = np.repeat(rng.uniform(1000, 9000, samples // 1600 + 1), 1600)[:samples]
    tone = levels * np.sin(np.cumsum(tones_hz) * (2 * np.pi / 16_000))
    return (tone + rng.normal(0, 300, samples)).astype(np.int16)


def write_voxtral(directory: Path) -> Path:
    """A Voxtral-Mini-3B as the hub has it, but for its size."""
    tokenizer = _tokenizer(directory, "v7", _NAMES, _RECORDINGS)
    VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer).save_pretrained(directory)
    config = VoxtralConfig(
        audio_token_id=24,
        audio_config={
            "model_type": "voxtral_encoder",
            "num_mel_bins": 128,
            "max_source_positions": 1500,
            **_EAR,
        },
        text_config={"model_type": "llama", "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, **_TEXT},
    )
    torch.manual_seed(0)
    _livened(VoxtralForConditionalGeneration(config)).save_pretrained(directory)
    return directory


def write_voxtral_realtime(directory: Path) -> Path:
    """A Voxtral-Mini-4B-Realtime as the hub has it, but for its size."""
    tokenizer = _tokenizer(directory, "v13", _NAMES | _NAMES_OF_V13, _STREAMS)
    VoxtralRealtimeProcessor(VoxtralRealtimeFeatureExtractor(), tokenizer).save_pretrained(directory)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = VoxtralRealtimeConfig(
        audio_config={
            "model_type": "voxtral_realtime_encoder",
            "head_dim": 8,
            "rope_parameters": rope,
            **_EAR,
        },
        text_config={"model_type": "voxtral_realtime_text", "rope_parameters": rope, **_TEXT},
    )
    torch.manual_seed(0)
    _livened(VoxtralRealtimeForConditionalGeneration(config)).save_pretrained(directory)
    return directory


def _livened(model: Any) -> Any:
    """Weights larger than a fresh one's, whose words hardly depend on what it hears or has said: it attends
    to all alike. And it writes words only.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                counts = any(part in name for part in ("q_proj", "k_proj", "projector"))
                parameter.mul_(16.0 if counts else 4.0)
        model.lm_head.weight[:_SPECIAL] = 0.0
    return model


def _tokenizer(directory: Path, version: str, names: dict[int, str], audio: dict[str, Any]) -> Any:
    """mistral-common's own vocabulary, cut short, with the tokens that its published file lacks."""
    data = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tekken = json.loads(data.read_text())
    tekken.pop("image", None)
    tekken["vocab"] = tekken["vocab"][:_WORDS]
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
        for rank in range(_SPECIAL)
    ]
    tekken["config"].update(
        version=version,
        default_num_special_tokens=_SPECIAL,
        default_vocab_size=_SPECIAL + _WORDS,
        num_vocab_tokens=_WORDS,
    )
    tekken["audio"] = audio
    (directory / "tekken.json").write_text(json.dumps(tekken))
    return MistralCommonBackend(tokenizer_path=directory / "tekken.json")

"""A checkpoint that lacks weights is refused: transformers would go on with random ones."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

pytest.importorskip("transformers")
pytest.importorskip("mistral_common")

import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, VoxtralRealtimeForConditionalGeneration

from media.engines.hub_model import whole
from media.engines.transformers_llm import TransformersLlm
from media.engines.voxtral import Voxtral
from media.engines.voxtral_realtime import VoxtralRealtime
from media.errors import ModelMissing
from tests.media.engines.tiny_chat_model import tokenizer

Starts: TypeAlias = Callable[[Path], Any]


def lacking(of: Path, into: Path, *names: str) -> Path:
    """A copy of a model's directory without some of its weights."""
    for file in of.iterdir():
        if file.suffix != ".safetensors":
            (into / file.name).symlink_to(file)
    (weights,) = of.glob("*.safetensors")
    tensors = load_file(weights)
    for name in names:
        del tensors[name]
    save_file(tensors, into / weights.name, metadata={"format": "pt"})
    return into


def written_llm(folder: Path, *, tied: bool) -> Path:
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=words.eos_token_id,
        tie_word_embeddings=tied,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LlamaForCausalLM(config).save_pretrained(folder)
        words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lost", ["audio_tower.layers.1.fc1.weight", "language_model.lm_head.weight"])
def test_voxtral(tiny_voxtral: Path, tmp_path: Path, lost: str) -> None:
    model = lacking(tiny_voxtral, tmp_path, lost)
    with pytest.raises(ModelMissing, match=r"lacks 1 of its weights, .*: fetch it anew, or set model\.name"):
        asyncio.run(Voxtral(str(model), languages=("en",), device="cpu").start())


def test_voxtral_realtime(tiny_voxtral_realtime: Path, tmp_path: Path) -> None:
    model = lacking(tiny_voxtral_realtime, tmp_path, "multi_modal_projector.linear_1.weight")
    with pytest.raises(ModelMissing, match=r"lacks 1 of its weights, model\.multi_modal_projector\.linear_1"):
        asyncio.run(VoxtralRealtime(str(model), languages=("en",), device="cpu").start())


def test_a_language_model(tmp_path: Path) -> None:
    (there := tmp_path / "whole").mkdir()
    (less := tmp_path / "less").mkdir()
    model = lacking(written_llm(there, tied=False), less, "lm_head.weight", "model.norm.weight")
    with pytest.raises(
        ModelMissing, match=r"lacks 2 of its weights, lm_head\.weight among them: .*llm\.name"
    ):
        asyncio.run(TransformersLlm(model, device="cpu").start())


class Quantised:
    """A class of transformers', as far as it is asked here: the libraries that such models need are not."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(quantization_config={"quant_method": "awq"})

    @classmethod
    def from_pretrained(cls, _where: str, **options: Any) -> tuple[Quantised, dict[str, set[str]]]:
        assert options["output_loading_info"]
        return cls(), {"missing_keys": {"layers.0.q_proj.g_idx"}}

    def eval(self) -> Quantised:
        return self


def test_what_a_quantised_checkpoint_s_own_library_adds_is_not_missed() -> None:
    assert isinstance(whole(Quantised, "a/b", "llm.name"), Quantised)
    with pytest.raises(ModelMissing):  # it is this engine that quantises
        whole(Quantised, "a/b", "model.name", quantization_config="4 bits")


def test_weights_that_others_stand_for_are_not_missed(tiny_voxtral_realtime: Path, tmp_path: Path) -> None:
    (llm := tmp_path / "llm").mkdir()
    (weights,) = written_llm(llm, tied=True).glob("*.safetensors")
    assert "lm_head.weight" not in load_file(weights)
    assert whole(transformers.AutoModelForCausalLM, str(llm), "llm.name").training is False

    kind = VoxtralRealtimeForConditionalGeneration
    config = kind.config_class.from_pretrained(tiny_voxtral_realtime)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    (ear := tmp_path / "ear").mkdir()
    kind(config).save_pretrained(ear)
    (weights,) = ear.glob("*.safetensors")
    assert not any("lm_head" in name for name in load_file(weights))
    assert whole(kind, str(ear), "model.name").training is False

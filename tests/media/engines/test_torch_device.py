"""Where torch computes, as far as that can be told without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from media.engines import torch_device
from media.engines.gpu_pool import pools
from media.engines.torch_device import TorchPlace, give_back_gpu_memory, place_of
from media.errors import EngineError


def test_a_gpus_weights_go_there_as_they_are_read() -> None:
    assert TorchPlace("cpu", torch.float32).loading == {"dtype": torch.float32}
    assert TorchPlace("cuda:1", torch.bfloat16).loading == {
        "dtype": torch.bfloat16,
        "device_map": {"": "cuda:1"},
    }


def test_what_is_told_of_a_gpu_is_understood(tmp_path: Path) -> None:
    """The library takes a map of one device, in the GPU's numbers, and leaves nothing around the model."""
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    told = TorchPlace("cuda:0", torch.bfloat16).loading | {"device_map": {"": "cpu"}}
    model = AutoModelForCausalLM.from_pretrained(tmp_path, **told)
    assert {(str(values.device), values.dtype) for values in model.parameters()} == {("cpu", torch.bfloat16)}
    assert not [module for module in model.modules() if hasattr(module, "_hf_hook")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without() -> None:
    assert place_of("auto") == TorchPlace("cpu", torch.float32)
    with pytest.raises(EngineError, match="set device to cpu or auto"):
        place_of("cuda:1")


def test_how_a_gpu_computes_is_said_and_not_left_to_torch() -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True
    torch_device._set_numerics()  # torch's defaults, at present: nothing is to be put back
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_a_lost_device_keeps_nothing_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA fails then, whatever is asked of it: engines are closed all the same, and the server goes on."""

    def fails(*_: object) -> int:
        raise RuntimeError("CUDA error: unspecified launch failure")

    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("empty_cache", "memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, fails)
    give_back_gpu_memory()
    assert pools() == ()

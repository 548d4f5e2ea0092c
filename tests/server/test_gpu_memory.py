"""What fits into which GPU, and the sentence where something does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from media.errors import ConfigError
from server.gpu_memory import (
    GB,
    MB,
    Gpu,
    ModelNeed,
    advice,
    kokoro_need,
    level_of,
    llm_need,
    placed,
    voxtral_need,
    voxtral_realtime_need,
    weights_bytes,
)

VOXTRAL = "mistralai/Voxtral-Mini-3B-2507"
REALTIME = "mistralai/Voxtral-Mini-4B-Realtime-2602"


def gpus(*free_gb: float) -> list[Gpu]:
    return [
        Gpu(index, f"GPU {index}", round(free * GB) + GB, round(free * GB))
        for index, free in enumerate(free_gb)
    ]


def voxtral(device: str = "auto", *, in_4bit: bool = False, batch: int = 8) -> ModelNeed:
    return voxtral_need("model", VOXTRAL, device, in_4bit=in_4bit, batch=batch)


def places(needs: list[ModelNeed], *free_gb: float) -> list[int]:
    return [place.gpu for place in placed(needs, gpus(*free_gb))]


def refusal(needs: list[ModelNeed], *free_gb: float) -> str:
    with pytest.raises(ConfigError) as raised:
        placed(needs, gpus(*free_gb))
    return str(raised.value)


def test_what_the_models_take() -> None:
    assert voxtral(batch=1).size_bytes == pytest.approx(9.42 * GB, rel=0.01)
    assert voxtral(batch=16).size_bytes == pytest.approx(10.5 * GB, rel=0.01)
    assert voxtral(in_4bit=True, batch=1).size_bytes == pytest.approx(4.47 * GB, rel=0.01)
    realtime = voxtral_realtime_need("model", REALTIME, "auto", sessions=4)
    assert realtime.size_bytes == pytest.approx(9.6 * GB, rel=0.01)
    assert kokoro_need("tts", "auto").size_bytes == 900 * MB
    graphs = kokoro_need("tts", "auto", compiled=True)
    assert (graphs.size_bytes, graphs.smaller) == (2400 * MB, "set tts.compile to false")


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        ("Qwen/Qwen3-4B", 8.0),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.27),
        ("Qwen/Qwen2.5-1.5B-Instruct", 3.0),
        ("mistralai/Voxtral-Small-24B-2507", 48.0),
        ("google/gemma-3-270m-it", 0.54),
        ("somebody/a-model", None),
        ("somebody/model-v2b", None),
    ],
)
def test_what_a_models_name_says(model: str, gigabytes: float | None) -> None:
    size = weights_bytes(model)
    assert size is None if gigabytes is None else size == pytest.approx(gigabytes * GB)


def test_what_a_models_files_say(tmp_path: Path) -> None:
    assert weights_bytes(str(tmp_path)) is None
    for part in (1, 2):
        (tmp_path / f"model-{part}.safetensors").write_bytes(bytes(5000))
    (tmp_path / "consolidated.pth").write_bytes(bytes(10_000))  # the same weights once more
    assert weights_bytes(str(tmp_path)) == 10_000
    quantised = tmp_path / "model.Q4.gguf"
    quantised.write_bytes(bytes(1000))
    assert weights_bytes(str(quantised)) == 3000
    about = {"num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 512}
    (tmp_path / "config.json").write_text(json.dumps(about))
    need = llm_need("llm", str(tmp_path), "auto", context_tokens=100, parallel=2)
    assert need is not None
    assert need.size_bytes == 10_000 + 200 * 4 * 10 * 2 * 64
    assert llm_need("llm", "somebody/a-model", "auto", context_tokens=100, parallel=2) is None
    small = voxtral_need("model", str(tmp_path), "auto", in_4bit=False, batch=0)
    assert small.size_bytes == 10_000


def test_each_finds_its_place() -> None:
    kokoro = kokoro_need("tts", "auto")
    assert places([voxtral(), kokoro], 24) == [0, 0]
    assert places([voxtral(), kokoro], 8, 15) == [1, 0]  # where most is free by then
    assert places([voxtral("cuda:1"), kokoro], 24, 11) == [1, 0]
    assert places([voxtral("cuda"), kokoro], 24, 24) == [0, 1]
    assert places([kokoro, voxtral("cuda:0")], 12, 1) == [0, 0]
    assert places([], 8) == []


@pytest.mark.parametrize(
    ("needs", "free_gb", "sentence"),
    [
        (
            [voxtral(batch=1)],
            (7.6,),
            "Voxtral in bf16 needs 9.4 GB and cuda:0 has 7.1 GB free: set model.load_in_4bit to true, or "
            "set model.engine to another.",
        ),
        (
            [voxtral("cuda:0", batch=1)],
            (7.6, 16.0),
            "Voxtral in bf16 needs 9.4 GB and cuda:0 has 7.1 GB free: set model.load_in_4bit to true, or "
            "set model.device to another GPU, or set model.engine to another.",
        ),
        (
            [voxtral(in_4bit=True)],
            (4.0,),
            "Voxtral in 4 bits needs 5.0 GB and cuda:0 has 3.5 GB free: set model.engine to another.",
        ),
        (
            [voxtral(batch=1), kokoro_need("tts", "auto")],
            (10.0,),
            "Kokoro needs 0.9 GB and cuda:0 has 0.1 GB free beside Voxtral in bf16: "
            "set model.load_in_4bit to true, or set tts.engine to another.",
        ),
        (
            [voxtral("cuda:2")],
            (24.0, 24.0),
            "model.device is cuda:2, and there is only cuda:0, cuda:1: set model.device to another, or "
            "model.engine.",
        ),
        (
            [kokoro_need("tts", "cuda")],
            (),
            "tts.device is cuda, and no GPU was found here: set tts.device to another, or tts.engine.",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(
    needs: list[ModelNeed], free_gb: tuple[float, ...], sentence: str
) -> None:
    assert refusal(needs, *free_gb) == sentence


def test_a_refusal_names_its_setting() -> None:
    with pytest.raises(ConfigError) as raised:
        placed([voxtral()], gpus(1))
    assert (raised.value.code, raised.value.param) == ("gpu_memory_short", "model.device")


def test_how_full_it_is() -> None:
    levels = [level_of(share, warning=0.85, critical=0.95) for share in (0.0, 0.84, 0.85, 0.95, 1.0)]
    assert levels == ["ok", "ok", "warning", "critical", "critical"]
    assert advice("ok", "cuda:0", 0.5, [voxtral()]) is None
    assert advice("warning", "cuda:0", 0.87, [kokoro_need("tts", "auto"), voxtral()]) == (
        "cuda:0 is 87% full, and little is left for more calls: set model.load_in_4bit to true."
    )
    assert advice("critical", "cuda:1", 0.97, [kokoro_need("tts", "auto")]) == (
        "cuda:1 is 97% full, and the next long utterance may find no room: "
        "set tts.device to another GPU, or server.max_calls to less."
    )
    assert advice("critical", "cuda:1", 0.97, []) == (
        "cuda:1 is 97% full, and the next long utterance may find no room: stop whatever else uses it."
    )

"""The configured engines on the GPUs: which want one, where they go, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from media.errors import ConfigError
from server.config import Config
from server.gpu_memory import GB, Gpu
from server.gpu_plan import fitted, needs_of, settled, with_places


def gpus(*free_gb: float) -> tuple[Gpu, ...]:
    return tuple(Gpu(at, "a card", 24 * GB, round(free * GB)) for at, free in enumerate(free_gb))


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


THINKS = {"engine": "transformers", "name": "Qwen/Qwen3-4B"}


def test_engines_on_the_processor_want_no_gpu() -> None:
    embedded = config()
    assert needs_of(embedded) == ()
    assert settled(embedded, {}) is embedded
    assert needs_of(config(llm=THINKS | {"device": "cpu"})) == ()


def test_a_language_model_finds_its_place() -> None:
    wanted = config(llm=THINKS)
    (need,) = needs_of(wanted)
    assert (need.section, need.device) == ("llm", "auto")
    assert need.size_bytes == pytest.approx(9.2 * GB, rel=0.02)
    assert with_places(wanted, [need], gpus(8, 16)).llm.device == "cuda:1"
    assert with_places(wanted, [need], ()).llm.device == "auto"  # the processor
    with pytest.raises(
        ConfigError, match=r"Qwen3-4B needs 9\.2 GB and cuda:0 has 7\.5 GB free: set llm\.name to a"
    ):
        with_places(wanted, [need], gpus(8))


def test_a_share_of_a_gpu_is_all_there_is() -> None:
    whole = Gpu(0, "a card", 24 * GB, 23 * GB)
    assert whole.within(0.5).free_bytes == 12 * GB
    assert Gpu(0, "a card", 24 * GB, 3 * GB).within(0.5).free_bytes == 3 * GB


def test_fallbacks_are_loaded_too() -> None:
    wanted = config(llm=THINKS | {"device": "cuda:0", "fallbacks": [THINKS]})
    needs = needs_of(wanted)
    assert [need.section for need in needs] == ["llm", "llm.fallbacks.0"]
    there = with_places(wanted, needs, gpus(12, 12)).llm
    assert (there.device, there.fallbacks[0].device) == ("cuda:0", "cuda:1")


def test_one_that_is_loaded_when_it_is_needed_has_its_place_kept() -> None:
    """What failed may still be there when it is needed."""
    wanted = config(llm=THINKS | {"device": "cuda:0", "fallbacks": [THINKS | {"load": "needed"}]})
    needs = needs_of(wanted)
    assert [need.on_need for need in needs] == [False, True]
    assert needs[1].size_bytes == needs[0].size_bytes
    with pytest.raises(ConfigError, match="beside The language model Qwen3-4B"):
        with_places(wanted, needs, gpus(12))


def test_a_gpu_that_is_not_there_is_refused() -> None:
    wanted = config(llm=THINKS | {"device": "cuda:1"})
    with pytest.raises(ConfigError, match=r"llm\.device is cuda:1, and there is only cuda:0"):
        with_places(wanted, needs_of(wanted), gpus(24))


def test_voxtral_is_placed_or_refused() -> None:
    voxtral = {"engine": "voxtral", "name": "mistralai/Voxtral-Mini-3B-2507", "largest_batch": 1}
    wanted = config(model=voxtral)
    assert with_places(wanted, needs_of(wanted), gpus(24)).model.device == "cuda:0"
    with pytest.raises(ConfigError) as raised:
        with_places(wanted, needs_of(wanted), gpus(7.6))
    assert str(raised.value) == (
        "Voxtral in bf16 needs 9.4 GB and cuda:0 has 7.1 GB free: set model.load_in_4bit to true, or set "
        "model.engine to another."
    )
    assert fitted(wanted, gpus(7.6), four_bits=True).model.load_in_4bit
    assert fitted(wanted, gpus(24), four_bits=True).model.load_in_4bit is None
    with pytest.raises(ConfigError, match="Voxtral in bf16"):
        fitted(wanted, gpus(7.6), four_bits=False)
    with pytest.raises(ConfigError, match="Voxtral in bf16"):
        fitted(config(model=voxtral | {"load_in_4bit": False}), gpus(7.6), four_bits=True)
    with pytest.raises(ConfigError, match="Voxtral in 4 bits"):
        fitted(wanted, gpus(3), four_bits=True)
    small = config(model=voxtral | {"load_in_4bit": True})
    assert with_places(small, needs_of(small), gpus(7.6)).model.device == "cuda:0"
    streaming = voxtral | {"engine": "voxtral-realtime", "name": "mistralai/Voxtral-Mini-4B-Realtime-2602"}
    sizes = [
        needs_of(config(model=streaming, server={"max_calls": calls}))[0].size_bytes for calls in (4, 14)
    ]
    assert sizes[1] - sizes[0] == pytest.approx(1.84 * GB, rel=0.01)

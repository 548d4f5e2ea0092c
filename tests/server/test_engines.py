"""The engines' life: what they are called, how far they are, how they fail."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from media.engines.protocols import ChatMessage, LlmRequest
from media.errors import EngineError, ModelMissing, VoiceUnavailable
from server.config import Config
from server.engine_set import EngineSet, EngineState
from server.engines import build_engines, threads_of, torch_threads_of
from server.warm_up import WarmUp
from tests import virtual_time
from tests.openai_endpoint import Endpoint, refuses
from tests.scripted import LevelVad, ScriptedEngines

ENDPOINT = {"engine": "openai", "base_url": "http://127.0.0.1:1/v1"}


def engine_set(scripted: ScriptedEngines, voice: str = "af_heart") -> EngineSet:
    engines = scripted.engines()
    return EngineSet(engines, WarmUp(engines, voice=voice, instructions="Be kind.", language="en"))


def states(engines: EngineSet) -> dict[str, str]:
    return {report.role: report.state for report in engines.reports}


def test_they_start_side_by_side_and_prove_themselves() -> None:
    async def main() -> None:
        scripted = ScriptedEngines()
        engines = engine_set(scripted)
        assert set(states(engines).values()) == {EngineState.ABSENT}
        assert not engines.ready

        await engines.start()
        await engines.until_ready()

        assert set(states(engines).values()) == {EngineState.READY}
        assert engines.ready
        # Each did its work once: the persona is in the LLM's cache, the voice has spoken.
        assert scripted.llm.requests[0].messages[0].text == "Be kind."
        assert scripted.tts.spoken
        assert scripted.stt.sessions[0].aborted
        assert scripted.turn_end.judged == [1.0]
        await engines.close()
        await engines.close()
        assert not scripted.llm.started

    virtual_time.run(main())


def test_on_the_way_they_load_and_warm() -> None:
    class SlowVad(LevelVad):
        async def start(self) -> None:
            await asyncio.sleep(5)

    async def main() -> None:
        scripted = ScriptedEngines(vad=SlowVad())
        scripted.tts.takes_s = 3
        engines = engine_set(scripted)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(engines.start())
            await asyncio.sleep(2)
            assert states(engines) == {
                "vad": EngineState.LOADING,
                "turn_end": EngineState.READY,
                "stt": EngineState.READY,
                "llm": EngineState.READY,
                "tts": EngineState.WARMING,
            }
            assert not engines.ready
        assert engines.ready

    virtual_time.run(main())


def test_one_that_fails_says_why() -> None:
    async def main() -> None:
        scripted = ScriptedEngines()
        scripted.tts.fails = EngineError("the voice is broken")
        engines = engine_set(scripted)
        with pytest.raises(EngineError, match="the voice is broken"):
            await engines.start()
        report = next(report for report in engines.reports if report.role == "tts")
        assert (report.state, report.reason) == (EngineState.FAILED, "the voice is broken")
        assert not engines.ready
        await engines.close()

    virtual_time.run(main())


def test_a_model_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    config = Config.model_validate({"models": {"directory": tmp_path}})
    with pytest.raises(ModelMissing, match=rf"Run `voxtral-kokoro models fetch --models-dir {tmp_path}`\.$"):
        build_engines(config)


def test_a_package_that_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "media.engines.transformers_llm", None)  # cannot be imported
    config = Config.model_validate({"llm": {"engine": "transformers", "name": "tiny"}, "model": ENDPOINT})
    with pytest.raises(EngineError, match=r"needs the package media\.engines\.transformers_llm: pip install"):
        build_engines(config)


@pytest.mark.models
def test_kokoro_on_torch_needs_no_file_beyond_the_embedded_ones() -> None:
    tts = {"engine": "kokoro-torch", "voice": "af_heart:2+af_bella:1", "blends": ["am_adam+am_echo"]}
    engine = build_engines(Config.model_validate({"tts": tts})).tts
    assert engine.name == "kokoro-torch (kokoro-82m-int8)"
    assert [voice.label for voice in engine.voices[54:]] == ["Adam 50 %, Echo 50 %", "Heart 67 %, Bella 33 %"]
    with pytest.raises(VoiceUnavailable, match="did you mean af_heart"):
        build_engines(Config.model_validate({"tts": {**tts, "voice": "af_hart+af_bella"}}))


@pytest.mark.parametrize(
    ("own", "performance", "threads"), [(3, 2, 3), (None, 2, 2), (3, 0, 3)]
)  # fmt: skip
def test_threads_are_the_engines_own_or_everybodys(own: int | None, performance: int, threads: int) -> None:
    config = Config.model_validate({"performance": {"threads": performance}})
    assert threads_of(own, config) == threads


@pytest.mark.parametrize(
    ("performance", "environment", "threads"),
    [
        ({"torch_threads": 3, "threads": 2}, {"OMP_NUM_THREADS": "5"}, 3),
        ({"threads": 2}, {"OMP_NUM_THREADS": "5"}, 2),
        ({}, {"OMP_NUM_THREADS": "5"}, 5),
        ({}, {"OMP_NUM_THREADS": "0"}, len(os.sched_getaffinity(0))),
        ({}, {"OMP_NUM_THREADS": "2,1"}, len(os.sched_getaffinity(0))),
        ({}, {}, len(os.sched_getaffinity(0))),
    ],
)
def test_torch_has_one_number_of_threads(
    performance: dict[str, int], environment: dict[str, str], threads: int
) -> None:
    config = Config.model_validate({"performance": performance})
    assert torch_threads_of(config, environment) == threads


@pytest.mark.models
@pytest.mark.parametrize(("load", "tries"), [("start", 2), ("needed", 3)])
def test_an_endpoint_is_asked_again_rather_than_that_another_engine_is_loaded(
    models_dir: Path, load: str, tries: int
) -> None:
    async def main() -> None:
        async with Endpoint((refuses(503, {"error": {"message": "Busy."}}),)).running() as endpoint:
            llm = {"engine": "openai", "base_url": endpoint.base_url, "name": "a-model"}
            llm |= {"fallbacks": [{"engine": "llama.cpp", "load": load}]}
            sections = {"models": {"directory": models_dir}, "performance": {"engine_wait_s": 0}}
            engine = build_engines(Config.model_validate(sections | {"llm": llm})).llm
            request = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
            with pytest.raises(EngineError):  # the other one was not started here
                async with aclosing(engine.reply(request)) as deltas:
                    await anext(deltas)
            assert len(endpoint.bodies) == tries
            await engine.close()

    asyncio.run(main())


@pytest.mark.models
def test_engines_on_torch_share_it() -> None:
    """In a process of its own: torch has one number for each."""
    script = (
        "import threading, torch\n"
        "from server.config import Config\n"
        "from server.engines import build_engines\n"
        "tts = {'engine': 'kokoro-torch', 'device': 'cpu', 'threads': 1}\n"
        "build_engines(Config.model_validate({'tts': tts, 'performance': {'torch_threads': 3}}))\n"
        "threading.Thread(target=lambda: print(torch.get_num_threads())).start()\n"
    )
    environment = {**os.environ, "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert ran.stdout.split() == ["3"]


def test_threads_that_nobody_chose_follow_the_machine() -> None:
    assert 1 <= threads_of(None, Config()) <= 4


@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({}, "tiny.en"),
        ({"multilingual": "none"}, "tiny.en"),
        ({"name": "base"}, "base"),
    ],
)
def test_the_configured_engines_are_built_unstarted(
    models_dir: Path, model: dict[str, Any], name: str
) -> None:
    engines = build_engines(Config.model_validate({"models": {"directory": models_dir}, "model": model}))
    assert name in engines.stt.name
    assert ("base" in engines.stt.name) == (model.get("multilingual") != "none")
    assert engines.tts.voices


@pytest.mark.models
def test_endpoints_take_the_place_of_the_embedded_engines(models_dir: Path) -> None:
    endpoint = {
        "engine": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "name": "a-model",
        "api_key": "sk-123",
    }
    sections = {"model": endpoint, "llm": endpoint, "tts": endpoint | {"voice": "alloy"}}
    config = Config.model_validate({"models": {"directory": models_dir}} | sections)
    engines = build_engines(config)
    assert {engines.stt.name, engines.llm.name, engines.tts.name} == {"openai (a-model)"}
    assert "de" in engines.stt.languages
    assert [voice.name for voice in engines.tts.voices] == ["alloy"]
    # The configuration goes to the engine process whole, its secrets too.
    there = pickle.loads(pickle.dumps(config))
    assert there.llm.api_key == config.llm.api_key


@pytest.mark.models
def test_several_addresses_are_engines_beside_each_other(models_dir: Path) -> None:
    urls = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]
    endpoint = {"engine": "openai", "base_url": urls, "name": "a-model"}
    sections = {
        "model": endpoint,
        "llm": endpoint | {"fallbacks": [{"engine": "llama.cpp"}]},
        "tts": endpoint | {"voice": "alloy"},
    }
    engines = build_engines(Config.model_validate({"models": {"directory": models_dir}} | sections))
    both = "openai (a-model at 127.0.0.1:1), openai (a-model at 127.0.0.1:2)"
    assert engines.stt.name == engines.tts.name == both
    assert engines.llm.name.startswith(f"{both}, else llama.cpp")


@pytest.mark.models
def test_a_language_model_on_torch_is_built_unstarted(models_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for name, shown in (
        ("smollm2-135m-instruct", "SmolLM2-135M"),
        (str(tmp_path), tmp_path.name),
        ("a/b", "a/b"),
    ):
        llm = {"engine": "transformers", "name": name, "device": "cpu"}
        engines = build_engines(Config.model_validate({"models": {"directory": models_dir}, "llm": llm}))
        assert engines.llm.name.startswith(f"transformers ({shown}")


@pytest.mark.models
@pytest.mark.parametrize(
    ("section", "name", "languages"),
    [
        (
            {"engine": "voxtral", "name": "mistralai/Voxtral-Mini-3B-2507"},
            "voxtral (Voxtral-Mini-3B-2507)",
            8,
        ),
        ({"engine": "voxtral-realtime", "name": "/models/realtime"}, "voxtral-realtime (realtime)", 13),
        (
            {
                "engine": "vllm-realtime",
                "name": "vox",
                "base_url": "http://127.0.0.1:1/v1",
                "languages": ["en"],
            },
            "vllm-realtime (vox)",
            1,
        ),
    ],
)
def test_voxtral_takes_the_place_of_whisper(
    models_dir: Path, section: dict[str, Any], name: str, languages: int
) -> None:
    config = Config.model_validate({"models": {"directory": models_dir}, "model": section})
    stt = build_engines(config).stt
    assert stt.name == name
    assert len(stt.languages) == languages


@pytest.mark.models
def test_the_real_engines_start_and_work(models_dir: Path) -> None:
    """All of them, with the default configuration; a voice that does not exist is noticed here."""

    async def main() -> None:
        config = Config.model_validate({"models": {"directory": models_dir}})
        engines = build_engines(config)
        real = EngineSet(engines, WarmUp(engines, voice="af_heart", instructions="Be kind.", language="en"))
        try:
            await real.start()
            assert real.ready
            unknown = WarmUp(engines, voice="af_nobody", instructions="Be kind.", language="en")
            with pytest.raises(VoiceUnavailable):
                await unknown.of("tts")
        finally:
            await real.close()

    asyncio.run(main())

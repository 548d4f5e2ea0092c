"""Profiles: what stands behind `auto`, on which machine, and that what is said always wins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from media.errors import ConfigError
from server.config import CHECKOUT_CONFIG, Config, load_config
from server.config_sources import Source, read_file
from server.gpu_memory import GB, Gpu
from server.gpu_plan import fitted, needs_of, with_places
from server.profiles import LANGUAGE_MODELS, VOXTRAL, Choice, Machine, look, with_profile
from tests.server.scripted_nvml import nvml_with

ROOT = Path(__file__).resolve().parent.parent.parent
LARGE, SMALL = LANGUAGE_MODELS
EMBEDDED = "whisper, llama.cpp and kokoro"
ENDPOINT = "http://127.0.0.1:8100/v1"


def machine(*free_gb: float, missing: tuple[str, ...] = (), four_bits: bool = True) -> Machine:
    gpus = tuple(Gpu(at, "NVIDIA L4", 24 * GB, round(free * GB)) for at, free in enumerate(free_gb))
    return Machine(gpus, missing, four_bits)


def filled(values: dict[str, Any], here: Machine) -> tuple[dict[str, Any], Choice]:
    source, choice = with_profile(Source(values), lambda: here)
    return source.values, choice


def not_looked_at() -> Machine:
    raise AssertionError("nothing is looked at")


def test_the_embedded_engines_are_the_default_and_nothing_is_looked_at() -> None:
    for values in ({}, {"profile": "cpu"}, {"model": {"engine": "auto", "name": "auto"}}):
        source, choice = with_profile(Source(values), not_looked_at)
        assert (choice.profile, source.values["model"]) == ("cpu", {})
    config = load_config(CHECKOUT_CONFIG, {})
    assert config.profile == "cpu"
    assert config.engine_names == {"model": "whisper", "llm": "llama.cpp", "tts": "kokoro"}
    assert (config.model.name, config.llm.name) == ("tiny.en", "smollm2-135m-instruct")


@pytest.mark.parametrize("share", [0.5, "0.5"])  # from the file, from the environment
def test_no_more_of_a_gpu_is_chosen_for_than_may_be_taken(share: Any) -> None:
    values = {"profile": "gpu", "performance": {"gpu_memory_share": share}}
    assert filled({"profile": "gpu"}, machine(24))[0]["llm"]["name"] == LARGE
    assert (
        filled(values, machine(24, four_bits=False))[0]["llm"].get("engine") is None
    )  # 12 GB: Voxtral, Kokoro
    with pytest.raises(ConfigError, match="gpu_memory_share"):
        load_config(CHECKOUT_CONFIG, {"VOXTRAL_KOKORO__PERFORMANCE__GPU_MEMORY_SHARE": "most"})


def test_the_checkouts_file_leaves_everything_to_the_profile() -> None:
    source = read_file(CHECKOUT_CONFIG).over(Source())
    source.values["profile"] = "gpu"
    values = with_profile(source, lambda: machine(24))[0].values
    assert [values[name]["engine"] for name in ("model", "llm", "tts")] == [
        "voxtral",
        "transformers",
        "kokoro-torch",
    ]
    assert values["model"]["name"] == VOXTRAL
    config = Config.model_validate(values)
    assert config.llm.name == LARGE
    assert [need.what.split(" in ")[0] for need in needs_of(config)] == [
        "Voxtral",
        "The language model Qwen3-4B-Instruct-2507",
        "Kokoro",
    ]
    placed = with_places(config, needs_of(config), machine(24).gpus or ())
    assert {placed.model.device, placed.llm.device, placed.tts.device} == {"cuda:0"}


@pytest.mark.parametrize(
    ("free_gb", "four_bits", "in_4bit", "llm"),
    [
        ((24,), True, False, LARGE),
        ((16,), True, False, SMALL),
        ((12,), True, False, None),
        ((12, 12), True, False, LARGE),
        ((11,), True, True, SMALL),
        ((7.5,), True, True, None),
        ((10.5, 4.5), False, False, None),
    ],
)  # fmt: skip
def test_what_a_gpu_has_room_for(
    free_gb: tuple[float, ...], four_bits: bool, in_4bit: bool, llm: str | None
) -> None:
    values, choice = filled({"profile": "gpu"}, machine(*free_gb, four_bits=four_bits))
    assert choice.profile == values["profile"] == "gpu"
    assert values["model"] == {"engine": "voxtral", "name": VOXTRAL}
    config = fitted(Config.model_validate(values), machine(*free_gb).gpus or (), four_bits=four_bits)
    assert bool(config.model.load_in_4bit) is in_4bit
    assert config.model.device.startswith("cuda:")
    assert values["tts"] == {"engine": "kokoro-torch"}
    assert values["llm"] == ({"engine": "transformers", "name": llm} if llm else {})


def test_what_is_said_wins() -> None:
    said = {
        "profile": "gpu",
        "model": {"engine": "whisper", "name": "base", "language": "auto"},
        "llm": {"base_url": ENDPOINT, "name": "qwen3-8b"},
        "tts": {"engine": "auto", "voice": "bf_emma", "device": "auto"},
    }
    values, _ = filled(said, machine(2))  # which has room for what is left to the profile
    assert values == {
        "profile": "gpu",
        "model": {"engine": "whisper", "name": "base", "language": "auto"},
        "llm": {"engine": "openai", "base_url": ENDPOINT, "name": "qwen3-8b"},
        "tts": {"engine": "kokoro-torch", "voice": "bf_emma", "device": "auto"},
    }


def test_an_engine_that_is_named_has_a_model_of_its_own(tmp_path: Path) -> None:
    environment = {"VOXTRAL_KOKORO__MODEL__ENGINE": "voxtral-realtime"}
    model = load_config(CHECKOUT_CONFIG, environment).model
    assert (model.name, model.load_in_4bit) == ("mistralai/Voxtral-Mini-4B-Realtime-2602", None)
    path = written(tmp_path, "model: {engine: voxtral, name: /models/voxtral}")
    assert load_config(path, {}).model.name == "/models/voxtral"


@pytest.mark.parametrize(
    ("here", "profile", "reason"),
    [
        (machine(24), "gpu", "there is NVIDIA L4 with 24.0 GB free, and the extra gpu is installed"),
        (machine(), "cpu", "no GPU was found here"),
        (Machine(None, (), four_bits=True), "cpu", "no GPU was found here"),
        (machine(4), "cpu", "its engines do not fit into NVIDIA L4 with 4.0 GB free"),
        (machine(8, four_bits=False), "cpu", "its engines do not fit into NVIDIA L4 with 8.0 GB free"),
        (
            machine(24, missing=("torch", "kokoro")),
            "cpu",
            "torch, kokoro is not installed (pip install 'voxtral-kokoro[gpu]')",
        ),
    ],
)
def test_auto_takes_a_gpu_where_everything_is_there(here: Machine, profile: str, reason: str) -> None:
    values, choice = filled({"profile": "auto"}, here)
    assert (choice.profile, choice.reason, values["profile"]) == (profile, reason, profile)


def test_gpu_where_there_is_none_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        filled({"profile": "gpu"}, machine())
    assert str(raised.value) == (
        "profile is gpu, and no GPU was found here: mend that, or set profile to cpu, remote or auto."
    )
    assert (raised.value.code, raised.value.param) == ("profile_impossible", "profile")
    # Where that cannot be told, the engines find out.
    assert filled({"profile": "gpu"}, Machine())[1].profile == "gpu"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_remote_needs_addresses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, "profile: remote\n"), {})
    sentences = str(raised.value).splitlines()
    assert sentences == [
        f"{section}: engine openai needs base_url, for example http://127.0.0.1:8080/v1."
        for section in ("model", "llm", "tts")
    ]
    sections = "\n".join(f"{section}: {{base_url: '{ENDPOINT}'}}" for section in ("model", "llm", "tts"))
    config = load_config(written(tmp_path, f"profile: remote\n{sections}\n"), {})
    assert set(config.engine_names.values()) == {"openai"}
    assert config.model.base_url == ENDPOINT


def test_it_may_stand_in_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, "model: {engine: whisper}\nllm: {engine: llama.cpp}\ntts: {engine: kokoro}\n")
    config = load_config(path, {"VOXTRAL_KOKORO__PROFILE": "remote"})
    assert (config.profile, config.model.engine) == ("remote", "whisper")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("profile: fast\n", "config.yaml, line 1: profile cannot be 'fast': it should be 'auto', 'cpu', "),
        ("profile: {a: 1}\n", "config.yaml, line 1: profile cannot be a mapping: "),
        ("profil: gpu\n", "config.yaml, line 1: There is no section profil: did you mean profile?"),
        (
            "model: {fallbacks: [{engine: auto}]}\n",
            "config.yaml, line 1: model.fallbacks.0.engine cannot be 'auto': ",
        ),
    ],
)  # fmt: skip
def test_mistakes_have_their_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, text), {})
    assert str(raised.value).startswith(sentence)
    assert len(str(raised.value).splitlines()) == 1


def test_neither_the_default_nor_a_look_loads_torch() -> None:
    looks = "load_config(None, {}); look({})"
    program = (
        "import sys; from server.config import load_config; from server.profiles import look; "
        f"{looks}; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_this_machine_can_be_looked_at() -> None:
    here = look({})
    assert set(here.missing) <= {"torch", "transformers", "mistral_common", "kokoro"}
    assert Config().profile == "cpu"


@pytest.mark.parametrize(
    ("total_gb", "engines"), [(24, "voxtral, transformers and kokoro-torch"), (4, EMBEDDED)]
)
def test_auto_says_what_it_took(tmp_path: Path, total_gb: int, engines: str) -> None:
    if look({}).missing:
        pytest.skip("the extra gpu is not installed")
    nvml = nvml_with(tmp_path, [(total_gb, total_gb - 0.5)])
    environment = os.environ | {
        "VOXTRAL_KOKORO__PROFILE": "auto",
        "PYTHONPATH": f"{nvml}{os.pathsep}{ROOT}",
    }
    command = [sys.executable, "-m", "server.cli", "check-config"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    said = result.stdout.splitlines()
    assert said[1] == f"Profile {'gpu' if total_gb == 24 else 'cpu'}: {engines}."
    assert ("Voxtral in bf16 needs 9.9 GB of a GPU." in said) is (total_gb == 24)

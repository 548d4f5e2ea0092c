"""Changes while the server runs."""

from __future__ import annotations

from typing import Any

import pytest

from media.errors import ConfigError
from server.config import Config
from server.runtime_settings import CHANGEABLE, RuntimeSettings


def test_a_change_makes_a_new_configuration_and_keeps_the_old() -> None:
    configured = Config()
    runtime = RuntimeSettings(configured)
    before = runtime.config

    after = runtime.apply({"tts": {"voice": "bf_emma", "speed": 1.2}})

    assert after.tts.voice == "bf_emma"
    assert runtime.config is after
    assert before == configured
    assert before.tts.voice == "af_heart"
    assert runtime.overlay == {"tts": {"voice": "bf_emma", "speed": 1.2}}


def test_changes_add_up_and_null_takes_one_back() -> None:
    runtime = RuntimeSettings(Config())
    runtime.apply({"tts": {"voice": "bf_emma"}})
    runtime.apply({"tts": {"speed": 1.5}, "llm": {"temperature": 0.0}})
    assert runtime.overlay == {"tts": {"voice": "bf_emma", "speed": 1.5}, "llm": {"temperature": 0.0}}

    runtime.apply({"tts": {"voice": None, "speed": None}})

    assert runtime.overlay == {"llm": {"temperature": 0.0}}
    assert runtime.config.tts == Config().tts


def test_null_gives_back_what_was_configured_not_the_default() -> None:
    runtime = RuntimeSettings(Config.model_validate({"tts": {"speed": 0.9}}))
    runtime.apply({"tts": {"speed": 1.5}})
    runtime.apply({"tts": {"speed": None}})
    assert runtime.config.tts.speed == 0.9


@pytest.mark.parametrize(
    ("patch", "sentence", "param"),
    [
        ({"tss": {}}, "There is no section tss: did you mean tts?", "tss"),
        ({"tts": {"voise": "x"}}, "There is no setting tts.voise: did you mean tts.voice?", "tts.voise"),
        (
            {"server": {"port": 1}},
            "server.port cannot be changed while the server runs: set it in config.yaml and restart. "
            "In this section that is: max_calls.",
            "server.port",
        ),
        (
            {"ice": {"gather_loopback": False}},
            "ice.gather_loopback cannot be changed while the server runs: set it in config.yaml and restart.",
            "ice.gather_loopback",
        ),
        ({"tts": {"speed": 9}}, "tts.speed cannot be 9: it should be less than or equal to 2.", "tts.speed"),
        ({"tts": "loud"}, "tts is a section: its settings are an object in it.", "tts"),
    ],
)
def test_what_cannot_be_is_refused_whole(patch: dict[str, Any], sentence: str, param: str) -> None:
    runtime = RuntimeSettings(Config())
    runtime.apply({"llm": {"temperature": 0.0}})
    with pytest.raises(ConfigError) as raised:
        runtime.apply({"llm": {"temperature": 1.0}, **patch})
    assert (str(raised.value), raised.value.param) == (sentence, param)
    assert runtime.overlay == {"llm": {"temperature": 0.0}}


def test_trying_changes_nothing() -> None:
    runtime = RuntimeSettings(Config())
    config, overlay = runtime.tried({"tts": {"speed": 1.5}})
    assert config.tts.speed == 1.5
    assert overlay == {"tts": {"speed": 1.5}}
    assert runtime.overlay == {}
    assert runtime.config.tts.speed == 1.0


def test_what_is_changeable_exists_and_is_marked_in_the_file() -> None:
    from server.config import CHECKOUT_CONFIG

    marked: set[str] = set()
    section = ""
    for line in CHECKOUT_CONFIG.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            section = line.partition(":")[0]
        elif "# (*)" in line:
            marked.add(f"{section}.{line.strip().partition(':')[0]}")
    assert marked == {f"{section}.{key}" for section, keys in CHANGEABLE.items() for key in keys}
    for name in marked:
        section, _, key = name.partition(".")
        assert hasattr(getattr(Config(), section), key)

"""The configuration: its sources, their order, and what is said of each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from media.errors import ConfigError
from server.config import CHECKOUT_CONFIG, Config, load_config
from server.config_sources import from_arguments

ENVIRONMENT = "VOXTRAL_KOKORO__"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_the_file_in_the_checkout_says_the_defaults() -> None:
    assert load_config(CHECKOUT_CONFIG, {}) == Config()


def test_the_file_in_the_checkout_holds_every_setting() -> None:
    def names(model: BaseModel) -> dict[str, Any]:
        return {
            name: names(value) if isinstance(value := getattr(model, name), BaseModel) else None
            for name in type(model).model_fields
        }

    def keys(value: Any) -> Any:
        return {name: keys(inner) for name, inner in value.items()} if isinstance(value, dict) else None

    assert keys(yaml.safe_load(CHECKOUT_CONFIG.read_text())) == names(Config())


def test_every_setting_in_the_checkout_says_what_it_is() -> None:
    """Each line with a value has a comment, but for the choices with one answer and the head of a section."""
    bare = []
    for number, line in enumerate(CHECKOUT_CONFIG.read_text().splitlines(), 1):
        text = line.strip()
        is_setting = line.startswith("  ") and ":" in text and not text.startswith("#")
        is_single_choice = text.split(":")[0] in ("engine", "name")
        if is_setting and not is_single_choice and "#" not in text and not line.startswith("    You"):
            bare.append(f"{number}: {line}")
    assert not bare


def test_later_sources_win_key_by_key(tmp_path: Path) -> None:
    path = written(tmp_path, "server: {port: 1001, max_calls: 2, host: '::1'}\ntts: {voice: bf_emma}\n")
    environment = {f"{ENVIRONMENT}SERVER__PORT": "1002", f"{ENVIRONMENT}SERVER__MAX_CALLS": "3"}
    arguments = from_arguments({("server", "port"): "1003"}, {("server", "port"): "--port"})

    config = load_config(path, environment, arguments)

    assert (config.server.port, config.server.max_calls, config.server.host) == (1003, 3, "::1")
    assert config.tts.voice == "bf_emma"
    assert config.llm == Config().llm


@pytest.mark.parametrize(
    ("name", "text", "section", "key", "value"),
    [
        ("SERVER__PORT", "9000", "server", "port", 9000),
        ("SERVER__TLS_SELF_SIGNED", "true", "server", "tls_self_signed", True),
        ("SERVER__ALLOWED_HOSTS", '["a.org", "b.org"]', "server", "allowed_hosts", ("a.org", "b.org")),
        ("LLM__TEMPERATURE", "0.7", "llm", "temperature", 0.7),
        ("TTS__VOICE", "1234", "tts", "voice", "1234"),
        ("TTS__THREADS", "null", "tts", "threads", None),
        ("LOGGING__FILE", "null", "logging", "file", None),
        ("LOGGING__FILE", "/var/log/vk.log", "logging", "file", Path("/var/log/vk.log")),
        ("SPEECH_TO_SPEECH__GREETING", "", "speech_to_speech", "greeting", ""),
        ("SPEECH_TO_SPEECH__INSTRUCTIONS", "yes: [no]", "speech_to_speech", "instructions", "yes: [no]"),
        ("SPEECH_TO_SPEECH__GREETING", "[softly] Hi", "speech_to_speech", "greeting", "[softly] Hi"),
        ("SPEECH_TO_SPEECH__GREETING", "[Hello]", "speech_to_speech", "greeting", "[Hello]"),
    ],
)  # fmt: skip
def test_the_environment_is_typed_by_the_setting(
    tmp_path: Path, name: str, text: str, section: str, key: str, value: Any
) -> None:
    config = load_config(written(tmp_path, ""), {f"{ENVIRONMENT}{name}": text, "PATH": "/bin"})
    assert getattr(getattr(config, section), key) == value


def test_sections_within_sections_are_merged_too(tmp_path: Path) -> None:
    path = written(tmp_path, "speech_to_speech:\n  targets:\n    llm_ms: 7\n    tts_ms: 8\n")
    variable = f"{ENVIRONMENT}SPEECH_TO_SPEECH__TARGETS"

    targets = load_config(path, {variable: "{stt_ms: 5, tts_ms: 9}"}).speech_to_speech.targets

    assert (targets.stt_ms, targets.llm_ms, targets.tts_ms) == (5, 7, 9)
    with pytest.raises(ConfigError) as raised:
        load_config(path, {variable: "{llm_ms: soon}"})
    assert str(raised.value).startswith(f"{variable}: speech_to_speech.targets.llm_ms cannot be 'soon'")


def test_a_list_of_servers_from_the_environment(tmp_path: Path) -> None:
    text = '[{"urls": ["turn:turn.example:3478"], "username": "u", "credential": "c"}]'
    config = load_config(written(tmp_path, ""), {f"{ENVIRONMENT}ICE__SERVERS": text})
    assert config.ice.servers[0].urls == ("turn:turn.example:3478",)
    assert str(config.ice.servers[0].credential) == "**********"


def test_which_file_is_read(tmp_path: Path) -> None:
    named = written(tmp_path, "tts: {voice: from_variable}")
    other = tmp_path / "other.yaml"
    other.write_text("tts: {voice: from_option}")
    environment = {"VOXTRAL_KOKORO_CONFIG": str(named)}
    assert load_config(None, environment).tts.voice == "from_variable"
    assert load_config(other, environment).tts.voice == "from_option"
    assert load_config(None, {}).tts.voice == Config().tts.voice


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "server:\n  prot: 1\n",
            "config.yaml, line 2: There is no setting server.prot: did you mean server.port?",
        ),
        (
            "servr:\n  port: 1\n",
            "config.yaml, line 1: There is no section servr: did you mean server?",
        ),
        (
            "llm:\n  voice: x\n",
            "config.yaml, line 2: There is no setting llm.voice: did you mean tts.voice?",
        ),
        (
            "speech_to_speech:\n  targets:\n    sst_ms: 1\n",
            "config.yaml, line 3: There is no setting speech_to_speech.targets.sst_ms: "
            "did you mean speech_to_speech.targets.stt_ms?",
        ),
        (
            "models:\n  zzz: 1\n",
            "config.yaml, line 2: There is no setting models.zzz. Section models has: directory.",
        ),
        (
            "server:\n\n  port: eighty\n",
            "config.yaml, line 3: server.port cannot be 'eighty': "
            "it should be a valid integer, unable to parse string as an integer.",
        ),
        (
            "server:\n  port: 70000\n",
            "config.yaml, line 2: server.port cannot be 70000: it should be less than or equal to 65535.",
        ),
        (
            "model:\n  name: tiny\n",
            "config.yaml, line 1: model: whisper's models are tiny.en and base, not tiny; ",
        ),
        (
            "model: {engine: openai, name: voxtral}\n",
            "config.yaml, line 1: model: engine openai needs base_url, for example http://127.0.0.1:8080/v1.",
        ),
        (
            "model: {engine: openai, base_url: 'http://a/v1', languages: [de]}\n",
            "config.yaml, line 1: model: language en is none of languages.",
        ),
        (
            "model: {engine: voxtral, name: base}\n",
            "config.yaml, line 1: model: engine voxtral needs name, for example mistralai/Voxtral-Mini-3B",
        ),
        (
            "model: {engine: vllm-realtime, name: voxtral}\n",
            "config.yaml, line 1: model: engine vllm-realtime needs base_url, for example ",
        ),
        (
            "model: {engine: voxtral, name: a/b, language: ja}\n",
            "config.yaml, line 1: model: language ja is none of languages.",
        ),
        (
            "model: {device: gpu}\n",
            "config.yaml, line 1: model.device cannot be 'gpu': ",
        ),
        (
            "tts: {name: tts-1}\n",
            "config.yaml, line 1: tts: kokoro's model is kokoro-82m-int8; ",
        ),
        (
            "tts: {engine: openai, base_url: 'http://a/v1', voices: [alloy]}\n",
            "config.yaml, line 1: tts: voice af_heart is none of voices.",
        ),
        (
            "tts: {base_url: 'http://a/v1/audio/speech'}\n",
            "config.yaml, line 1: tts.base_url: leave out /audio/speech: it is added.",
        ),
        (
            "model: {language: de, multilingual: none}\n",
            "config.yaml, line 1: model: language de needs a multilingual model: set multilingual to base.",
        ),
        (
            "server: 8000\n",
            "config.yaml, line 1: server is a section: its settings stand indented below it.",
        ),
        (
            "server: {port: 8005}\n",
            "config.yaml, line 1: server: port and health_port are both 8005; they must differ.",
        ),
        (
            "llm: {name: qwen3-8b}\n",
            "config.yaml, line 1: llm: llama.cpp's model is smollm2-135m-instruct; for an endpoint's, set "
            "engine to openai, for another one in this server to transformers.",
        ),
        (
            "llm: {engine: openai, name: qwen3-8b}\n",
            "config.yaml, line 1: llm: engine openai needs base_url, for example http://127.0.0.1:8080/v1.",
        ),
        (
            "llm:\n  base_url: localhost:8080\n",
            "config.yaml, line 2: llm.base_url: it is written as http://127.0.0.1:8080/v1 or ",
        ),
        (
            "llm: {base_url: 'https://me:12@example.org/v1'}\n",
            "config.yaml, line 1: llm.base_url: a key or a password belongs into api_key, not ",
        ),
        (
            "llm: {base_url: 'https://example.org/v1/chat/completions'}\n",
            "config.yaml, line 1: llm.base_url: leave out /chat/completions: it is added.",
        ),
        (
            "llm: {base_url: 'https://example.org/v1?a=b'}\n",
            "config.yaml, line 1: llm.base_url: an address without ? and # is expected: ",
        ),
        (
            "llm: {base_url: []}\n",
            "config.yaml, line 1: llm.base_url: an address is expected, or a list of them.",
        ),
        (
            "llm: {base_url: ['http://a/v1', 'http://a/v1/']}\n",
            "config.yaml, line 1: llm.base_url: an address stands here twice.",
        ),
        (
            "llm: {base_url: ['http://a/v1', 'b:80']}\n",
            "config.yaml, line 1: llm.base_url: it is written as http://127.0.0.1:8080/v1 or ",
        ),
        (
            "llm: {engine: transformers, device: gpu}\n",
            "config.yaml, line 1: llm.device cannot be 'gpu': ",
        ),
        (
            "llm: {fallbacks: [{engine: openai, base_url: 'http://a/v1', load: needed}]}\n",
            "config.yaml, line 1: llm.fallbacks.0: engine openai is at an address: load is for engines in "
            "this server.",
        ),
        (
            "llm: {fallbacks: [{load: later}]}\n",
            "config.yaml, line 1: llm.fallbacks.0.load cannot be 'later': ",
        ),
        (
            "llm: {load: needed}\n",
            "config.yaml, line 1: There is no setting llm.load.",
        ),
        (
            "llm: {api_key: [sk-123]}\n",
            "config.yaml, line 1: llm.api_key cannot be what is given: it should be a valid string.",
        ),
        (
            "llm: {api_key: 'sk 123'}\n",
            "config.yaml, line 1: llm.api_key: a key consists of printable ASCII characters without spaces.",
        ),
        (
            "tools: {python: [weather]}\n",
            "config.yaml, line 1: tools.python.0 cannot be 'weather': string should match pattern ",
        ),
        (
            "tools: {mcp: [{name: home}]}\n",
            "config.yaml, line 1: tools.mcp.0: a server has either a command or a url.",
        ),
        (
            "tools: {mcp: [{name: home, url: 'https://example.org/mcp', args: [a]}]}\n",
            "config.yaml, line 1: tools.mcp.0: args and env belong to a command, not to a url.",
        ),
        (
            "tools: {mcp: [{name: home, command: a, headers: {A: b}}]}\n",
            "config.yaml, line 1: tools.mcp.0: headers belong to a url, not to a command.",
        ),
        (
            "tools: {mcp: [{name: home, url: example.org}]}\n",
            "config.yaml, line 1: tools.mcp.0: url is written as https://tools.example.org/mcp.",
        ),
        (
            "tools: {mcp: [{name: a, command: b}, {name: a, command: c}]}\n",
            "config.yaml, line 1: tools: two servers in mcp are called a.",
        ),
        (
            "tools: {mcp: [{name: a, command: b, env: {KEY: 12345}}]}\n",
            "config.yaml, line 1: tools.mcp.0.env.KEY cannot be what is given: it should be a valid string.",
        ),
        (
            "server: {tls_certificate: a.pem}\n",
            "config.yaml, line 1: server: tls_certificate and tls_key are given together or not at all.",
        ),
        (
            "spectrogram: {fft_size: 1000}\n",
            "config.yaml, line 1: spectrogram: fft_size is a power of two (512, 1024, 2048 …), not 1000.",
        ),
        (
            "server:\n  port: 1\n  host: a\n  port: 2\n",
            "config.yaml, line 4: server.port stands here a second time, after config.yaml, line 2.",
        ),
        ("server:\n  port: [1\n", "config.yaml, line 3: this is not YAML: "),
        ("a\tb: {", "config.yaml, line 1: this is not YAML: "),
        ("- server\n", "config.yaml: sections are expected (`server:` and so on), not one list."),
    ],
)  # fmt: skip
def test_each_mistake_in_the_file_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, text), {})
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("SERVER__PROT", "1", "There is no setting server.prot: did you mean server.port?"),
        ("SERVER__PORT", "x", "server.port cannot be 'x': it should be a valid integer"),
        ("SERVR__PORT", "1", "There is no section servr: did you mean server?"),
        (
            "ICE__SERVERS",
            '[{"urls": ["foo:x"]}]',
            "ice.servers.0.urls.0: an ICE server's address begins",
        ),
    ],
)
def test_each_mistake_in_the_environment_names_its_variable(
    tmp_path: Path, variable: str, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, ""), {f"{ENVIRONMENT}{variable}": text})
    assert str(raised.value).startswith(f"{ENVIRONMENT}{variable}: {sentence}")


@pytest.mark.parametrize("name", ["SERVER", "SERVER__", "A__B__C"])
def test_a_variable_that_names_no_setting_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{ENVIRONMENT}{name} is not {ENVIRONMENT}SECTION__KEY"):
        load_config(written(tmp_path, ""), {f"{ENVIRONMENT}{name}": "1"})


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, "server: {prot: 1}\nllm: {temperature: 9}\n"), {})
    assert len(str(raised.value).splitlines()) == 2
    assert raised.value.param == "server.prot"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml", {})


def test_an_empty_section_is_a_section_of_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "server:\nllm:\n  # nothing\n"), {}) == Config()


def test_a_secret_is_not_repeated_in_an_error(tmp_path: Path) -> None:
    text = "ice: {servers: [{urls: [stun:a], credentials: hunter2}]}\n"
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, text), {})
    assert "hunter2" not in str(raised.value)
    assert "did you mean ice.servers.0.credential?" in str(raised.value)


@pytest.mark.parametrize(
    ("servers", "sentence"),
    [
        ("[{urls: [turn:a], credential: 12345}]", "ice.servers.0.credential cannot be what is given: it"),
        (
            "[{urls: [turn:a], credential: {a: 12345}}]",
            "ice.servers.0.credential cannot be what is given: it",
        ),
        ("[{credential: '12345'}]", "ice.servers.0.urls is missing."),
        ("{credential: '12345'}", "ice.servers cannot be a mapping: it should be a valid tuple."),
        ("[[12345]]", "ice.servers.0 is a section: "),
        (
            "[{urls: {credential: 12345}}]",
            "ice.servers.0.urls cannot be a mapping: it should be a valid tuple.",
        ),
    ],
)
def test_no_secret_is_in_any_error(tmp_path: Path, servers: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, f"ice: {{servers: {servers}}}\n"), {})
    assert sentence in str(raised.value)
    assert "12345" not in str(raised.value)


def test_no_secret_is_told_of_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ICE__SERVERS: this is not a list or a mapping") as raised:
        load_config(written(tmp_path, ""), {f"{ENVIRONMENT}ICE__SERVERS": "[{credential: 12345"})
    assert "12345" not in str(raised.value)


def test_a_key_for_the_llm_is_kept_to_itself(tmp_path: Path) -> None:
    path = written(tmp_path, "llm: {engine: openai, base_url: 'https://example.org/v1/', name: a-model}\n")
    config = load_config(path, {f"{ENVIRONMENT}LLM__API_KEY": "sk-123\n"})
    assert config.llm.base_url == "https://example.org/v1"
    assert config.llm.api_key is not None
    assert config.llm.api_key.get_secret_value() == "sk-123"
    assert "sk-123" not in repr(config)
    assert load_config(path, {f"{ENVIRONMENT}LLM__API_KEY": ""}).llm.api_key is None
    for section in ("MODEL", "TTS"):
        config = load_config(path, {f"{ENVIRONMENT}{section}__API_KEY": "sk-456"})
        assert getattr(config, section.lower()).key_text == "sk-456"
        assert "sk-456" not in repr(config)
    both = load_config(path, {f"{ENVIRONMENT}LLM__BASE_URL": '["http://a/v1", "http://b/v1"]'})
    assert both.llm.base_urls == ("http://a/v1", "http://b/v1")
    extra = load_config(path, {f"{ENVIRONMENT}LLM__EXTRA_BODY": "{top_k: 20}"}).llm.extra_body
    assert extra == {"top_k": 20}


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().server.port = 1  # type: ignore[misc]

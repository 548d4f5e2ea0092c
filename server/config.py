"""The configuration: one frozen model made of sections, each defined beside what uses it.

Later sources win: the defaults, `config.yaml`, the environment (`VOXTRAL_KOKORO__SERVER__PORT=9000`), the
command line. Changes while the server runs lie over all of them: `server.runtime_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from media.clauses import StreamingSettings
from media.conversation_settings import ConversationSettings
from media.overlap_verdict import InterruptionSettings
from media.playout import AudioSettings
from media.section import Section
from media.session import SessionConfig
from media.silence import SilenceSettings
from media.vad_gate import VadSettings
from server.config_errors import explained
from server.config_sources import Source, read_environment, read_file
from server.engine_settings import LlmSettings, SttSettings, TtsSettings, TurnEndSettings
from server.host_settings import EngineHostSettings
from server.latency_targets import LatencyTargets
from server.logs import LoggingSettings
from server.profiles import Machine, Profile, look, with_profile
from server.settings import ModelsSettings, PerformanceSettings, ServerSettings, SpectrogramSettings
from server.tool_settings import ToolsSettings
from signaling.phone.settings import TelephoneSettings
from signaling.settings import IceSettings
from signaling.sip.settings import SipSettings
from signaling.streams.settings import StreamsSettings

CONFIG_VARIABLE = "VOXTRAL_KOKORO_CONFIG"
"""Names the configuration file, where `--config` does not."""

CHECKOUT_CONFIG = Path(__file__).resolve().parent.parent / "config.yaml"
"""Read where nothing else is named; may be absent."""

DEFAULT_INSTRUCTIONS = (
    "You are a friendly voice assistant on a telephone call. Answer in one or two short sentences, in plain "
    "spoken words, without lists, markup or emoji. Say so when you do not know something."
)


class SpeechToSpeechSettings(Section):
    """Section `speech_to_speech`: who is speaking, and how fast the answer should come.

    Attributes:
        instructions: the persona, the LLM's system message.
        greeting: said when a call begins; empty for none.
        apology: said where an engine failed and no answer comes; empty for none.
        targets: what the performance report compares with.
    """

    instructions: str = Field(default=DEFAULT_INSTRUCTIONS, max_length=20_000)
    greeting: str = Field(default="Hello! How can I help you?", max_length=1000)
    apology: str = Field(default="I'm sorry, something went wrong. Please say that again.", max_length=1000)
    targets: LatencyTargets = LatencyTargets()


class Config(Section):
    """Every setting there is. `config.yaml` lists them with their units.

    Attributes:
        profile: which engines stand behind `auto`. Once the configuration was read, none of them is `auto`.
    """

    profile: Profile = "cpu"
    server: ServerSettings = ServerSettings()
    model: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    audio: AudioSettings = AudioSettings()
    spectrogram: SpectrogramSettings = SpectrogramSettings()
    vad: VadSettings = VadSettings()
    turn_taking: TurnEndSettings = TurnEndSettings()
    interruption: InterruptionSettings = InterruptionSettings()
    silence: SilenceSettings = SilenceSettings()
    streaming: StreamingSettings = StreamingSettings()
    speech_to_speech: SpeechToSpeechSettings = SpeechToSpeechSettings()
    tools: ToolsSettings = ToolsSettings()
    telephone: TelephoneSettings = TelephoneSettings()
    sip: SipSettings = SipSettings()
    streams: StreamsSettings = StreamsSettings()
    engine_host: EngineHostSettings = EngineHostSettings()
    performance: PerformanceSettings = PerformanceSettings()
    ice: IceSettings = IceSettings()
    logging: LoggingSettings = LoggingSettings()
    models: ModelsSettings = ModelsSettings()

    @property
    def engine_names(self) -> dict[str, str]:
        """The engines, by section: `{"model": "whisper", …}`."""
        return {"model": self.model.engine, "llm": self.llm.engine, "tts": self.tts.engine}

    def conversation_settings(self) -> ConversationSettings:
        """The sections that steer a conversation."""
        return ConversationSettings(
            audio=self.audio,
            vad=self.vad,
            turn_taking=self.turn_taking,
            interruption=self.interruption,
            silence=self.silence,
            streaming=self.streaming,
            writing=self.llm,
            tools=self.tools,
            digits=self.telephone.digits,
            apology=self.speech_to_speech.apology,
        )

    def session_defaults(self) -> SessionConfig:
        """What a call begins with, where the caller does not choose."""
        return SessionConfig(
            instructions=self.speech_to_speech.instructions,
            greeting=self.speech_to_speech.greeting,
            voice=self.tts.voice,
            speed=self.tts.speed,
            language=self.model.language_hint,
        )


def load_config(path: Path | None, environment: Mapping[str, str], arguments: Source | None = None) -> Config:
    """Reads and checks the configuration.

    Args:
        path: from `--config`; None takes `VOXTRAL_KOKORO_CONFIG`, or the checkout's own if it is there.
        environment: `os.environ`.
        arguments: what the command line says.

    Raises:
        ConfigError: a file that is not there or no YAML, an unknown setting, a value that cannot be, a
            profile that this machine cannot follow.
    """
    settings = read_settings(path, environment)
    if arguments is not None:
        settings = arguments.over(settings)
    return decided(settings, lambda: look(environment))


def read_settings(path: Path | None, environment: Mapping[str, str]) -> Source:
    """The settings as they were written: neither checked nor decided by any machine. See `load_config`.

    Raises:
        ConfigError: a file that is not there or no YAML, a variable that names no setting.
    """
    file = path or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    if file is None:
        from_file = read_file(CHECKOUT_CONFIG) if CHECKOUT_CONFIG.exists() else Source()
    else:
        from_file = read_file(file)
    return read_environment(environment, Config).over(from_file)


def decided(settings: Source, look_at: Callable[[], Machine]) -> Config:
    """The configuration that these settings are on a machine.

    Args:
        settings: of `read_settings`.
        look_at: looks at the machine; called only where the profile asks for it.

    Raises:
        ConfigError: an unknown setting, a value that cannot be, a profile that the machine cannot follow.
    """
    source, _ = with_profile(settings, look_at)
    return validated(source)


def validated(source: Source) -> Config:
    """Raises: ConfigError, with one line for each thing that is wrong."""
    try:
        return Config.model_validate(source.values)
    except ValidationError as error:
        raise explained(error, Config, source.place_of) from error

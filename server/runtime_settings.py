"""Settings changed while the server runs: they hold for calls that begin afterwards, and are not written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from media.errors import ConfigError
from server.config import Config
from server.config_errors import explained, nearest
from server.config_sources import KeyPath

CHANGEABLE: Mapping[str, frozenset[str]] = {
    "server": frozenset({"max_calls"}),
    "model": frozenset({"language"}),
    "llm": frozenset({"max_output_tokens", "temperature"}),
    "tts": frozenset({"voice", "speed"}),
    "audio": frozenset({"output_gain_db"}),
    "spectrogram": frozenset({"fft_size", "smoothing", "floor_db", "ceiling_db", "frequency_max_hz"}),
    "vad": frozenset({"threshold", "release", "start_ms", "pause_ms", "padding_ms"}),
    "turn_taking": frozenset({"patience_s", "silence_s"}),
    "interruption": frozenset({"sensitivity", "decide_s", "tolerate_s", "after_s", "echo_guard"}),
    "silence": frozenset({"ask_after_s", "questions", "hang_up"}),
    "speech_to_speech": frozenset({"instructions", "greeting"}),
    "tools": frozenset({"filler_after_s", "filler_again_s", "fillers"}),
    "logging": frozenset({"level"}),
}
"""What can be changed without a restart, by section. A log level and a limit on calls hold at once."""


class RuntimeSettings:
    """The configuration as it was read, and what was changed since.

    Args:
        configured: from the file, the environment and the command line.
    """

    def __init__(self, configured: Config) -> None:
        self._configured = configured
        self._effective = configured
        self._overlay: dict[str, dict[str, Any]] = {}

    @property
    def config(self) -> Config:
        """The configuration with the changes: what the next call begins with."""
        return self._effective

    @property
    def overlay(self) -> dict[str, dict[str, Any]]:
        """What was changed, section → key → value."""
        return {section: dict(keys) for section, keys in self._overlay.items()}

    def tried(self, patch: Mapping[str, Any]) -> tuple[Config, dict[str, dict[str, Any]]]:
        """What `apply` would lead to: the configuration and the overlay. Changes nothing.

        Args:
            patch: section → key → value; null takes the configured value again.

        Raises:
            ConfigError: a key that does not exist or needs a restart, or a value that cannot be.
        """
        overlay = self.overlay
        for section, keys in patch.items():
            if section not in Config.model_fields:
                raise _unknown((section,), Config.model_fields)
            if not isinstance(Config.model_fields[section].annotation, type):
                raise _needs_restart(section)
            if not isinstance(keys, Mapping):
                raise ConfigError(f"{section} is a section: its settings are an object in it.", param=section)
            for key, value in keys.items():
                _require_changeable(section, key)
                changed = overlay.setdefault(section, {})
                if value is None:
                    changed.pop(key, None)
                else:
                    changed[key] = value
        overlay = {section: keys for section, keys in overlay.items() if keys}
        values = self._configured.model_dump()
        for section, keys in overlay.items():
            values[section] |= keys
        try:
            return Config.model_validate(values), overlay
        except ValidationError as error:
            raise explained(error, Config, lambda _path: None) from error

    def apply(self, patch: Mapping[str, Any]) -> Config:
        """Makes all of the patch's changes or, where it raises, none. Arguments and errors: as `tried`."""
        self._effective, self._overlay = self.tried(patch)
        return self._effective


def _require_changeable(section: str, key: str) -> None:
    path = (section, key)
    known = Config.model_fields[section].annotation
    settings = getattr(known, "model_fields", {})
    if key not in settings:
        raise _unknown(path, settings)
    allowed = CHANGEABLE.get(section, frozenset())
    if key not in allowed:
        instead = f" In this section that is: {', '.join(sorted(allowed))}." if allowed else ""
        raise _needs_restart(f"{section}.{key}", instead)


def _needs_restart(name: str, instead: str = "") -> ConfigError:
    return ConfigError(
        f"{name} cannot be changed while the server runs: set it in config.yaml and restart.{instead}",
        code="setting_needs_restart",
        param=name,
    )


def _unknown(path: KeyPath, known: Mapping[str, Any]) -> ConfigError:
    guess = nearest(path[-1], known)
    name = ".".join(path)
    what = "section" if len(path) == 1 else "setting"
    hint = f": did you mean {'.'.join((*path[:-1], guess))}?" if guess else "."
    return ConfigError(f"There is no {what} {name}{hint}", code="unknown_setting", param=name)

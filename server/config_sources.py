"""Where settings are read from: a YAML file, the environment, the command line. Each remembers its place.

A value's place (`config.yaml, line 12`, `VOXTRAL_KOKORO__SERVER__PORT`) begins every error about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from media.errors import ConfigError

KeyPath: TypeAlias = tuple[str, ...]
"""`("server", "port")`."""

ENVIRONMENT_PREFIX = "VOXTRAL_KOKORO__"
"""`VOXTRAL_KOKORO__SECTION__KEY=value`."""


@dataclass(frozen=True, slots=True)
class Source:
    """Settings as they were written, not validated yet.

    Attributes:
        values: section → key → value.
        places: where each section and key stands.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)

    def over(self, below: Source) -> Source:
        """Both, where this one wins key by key, in sections within sections too."""
        return Source(_merged(self.values, below.values), below.places | self.places)

    def place_of(self, path: KeyPath) -> str | None:
        """Where the key, or the nearest thing around it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None


def read_file(path: Path) -> Source:
    """Reads a YAML file.

    Raises:
        ConfigError: it cannot be read, is no YAML, repeats a key, or is not made of sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The configuration {path} cannot be read: {reason}.") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        values = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path.name}, line {mark.line + 1}" if mark else path.name
        raise ConfigError(f"{where}: this is not YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: this is not YAML: {error}.") from error
    finally:
        loader.dispose()
    if values is None:
        return Source()
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path.name}: sections are expected (`server:` and so on), not one {_kind(values)}."
        )
    places: dict[KeyPath, str] = {}
    assert isinstance(root, yaml.MappingNode)  # what was read as a mapping is one
    _note_places(root, (), path.name, places)
    # A section whose keys are all commented out reads as null: it is an empty one.
    return Source({str(name): {} if keys is None else keys for name, keys in values.items()}, places)


def read_environment(environment: Mapping[str, str], model: type[BaseModel]) -> Source:
    """Reads `VOXTRAL_KOKORO__SECTION__KEY` variables, and `VOXTRAL_KOKORO__PROFILE`.

    The text is given to the setting's type as it is: `8000`, `true`, `af_heart`. A list or a mapping is
    written as in YAML or JSON: `["a", "b"]`. `null` means none.

    Args:
        environment: `os.environ`.
        model: the sections: they know which settings are lists or mappings.

    Raises:
        ConfigError: a name without section and key, or a list that is no YAML.
    """
    source = Source()
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        path = tuple(part.lower() for part in name.removeprefix(ENVIRONMENT_PREFIX).split("__"))
        if len(path) == 1 and _is_setting(model, path[0]):
            source.values[path[0]] = _environment_value(name, environment[name], has_parts=False)
            source.places[path] = name
            continue
        if len(path) != 2 or not all(path):
            raise ConfigError(f"The environment variable {name} is not {ENVIRONMENT_PREFIX}SECTION__KEY.")
        section, key = path
        kind = _setting_type(model, section, key)
        value = _environment_value(name, environment[name], has_parts=_has_parts(kind))
        source.values.setdefault(section, {})[key] = value
        _note_place(value, path, name, source.places)
        source.places.setdefault((section,), name)
    return source


def from_arguments(settings: Mapping[KeyPath, Any], places: Mapping[KeyPath, str]) -> Source:
    """What the command line says, `{("server", "port"): 9000}`, and by which option."""
    source = Source(places=dict(places))
    for (section, key), value in settings.items():
        source.values.setdefault(section, {})[key] = value
    return source


def _merged(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(value, dict) and isinstance(lower, dict):
            merged[key] = _merged(value, lower)
        else:
            merged[key] = value
    return merged


def _is_setting(model: type[BaseModel], name: str) -> bool:
    """Whether a setting of this name stands in no section."""
    known = model.model_fields.get(name)
    return known is not None and not _has_parts(known.annotation)


def _setting_type(model: type[BaseModel], section: str, key: str) -> Any:
    """What a setting is typed as; None where there is none of that name."""
    known = model.model_fields.get(section)
    settings = getattr(known.annotation, "model_fields", {}) if known else {}
    return settings[key].annotation if key in settings else None


def _has_parts(kind: Any) -> bool:
    """Whether values of a type are lists or mappings, not text."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return True
    origin = get_origin(kind)
    return origin in (tuple, list, dict) or (
        origin in (Union, UnionType) and any(_has_parts(member) for member in get_args(kind))
    )


def _environment_value(name: str, text: str, *, has_parts: bool) -> Any:
    if text == "null":
        return None
    if not has_parts or not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        # Not with its text, and not from the parser's error, which quotes it: there may be a secret in it.
        raise ConfigError(f"{name}: this is not a list or a mapping in YAML or JSON.") from None


def _note_place(value: Any, path: KeyPath, place: str, places: dict[KeyPath, str]) -> None:
    """Notes one place for a setting and all that it is made of."""
    places[path] = place
    if isinstance(value, dict):
        for key, part in value.items():
            _note_place(part, (*path, str(key)), place, places)


def _note_places(node: yaml.MappingNode, path: KeyPath, file: str, places: dict[KeyPath, str]) -> None:
    """Notes the line of every key. YAML would let the last of two equal keys win in silence; we do not."""
    for key_node, value_node in node.value:
        key = (*path, str(key_node.value))
        place = f"{file}, line {key_node.start_mark.line + 1}"
        if key in places:
            raise ConfigError(f"{place}: {'.'.join(key)} stands here a second time, after {places[key]}.")
        places[key] = place
        if isinstance(value_node, yaml.MappingNode):
            _note_places(value_node, key, file, places)


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "value"

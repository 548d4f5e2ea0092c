"""Validation errors in words: where it is written, which setting, what was given, what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from media.errors import ConfigError
from server.config_sources import KeyPath

_LONGEST_VALUE_SHOWN = 60

_SECRET_NAMES = re.compile("credential|password|secret|token$|keys?$", re.IGNORECASE)
"""Settings whose value is never repeated, whatever their type; those typed as secrets are not either."""


def explained(
    error: ValidationError, model: type[BaseModel], place_of: Callable[[KeyPath], str | None]
) -> ConfigError:
    """One sentence for each thing that is wrong; `param` names the first setting at fault.

    Args:
        error: what pydantic found.
        model: what it validated: sections of settings.
        place_of: where a setting was written, if that is known.
    """
    sentences: list[str] = []
    params: list[str] = []
    for detail in error.errors(include_url=False):
        path = tuple(str(part) for part in detail["loc"])
        place = place_of(path)
        sentences.append(
            f"{place}: {_sentence(path, detail, model)}" if place else _sentence(path, detail, model)
        )
        params.append(".".join(path))
    return ConfigError("\n".join(sentences), param=params[0])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def _sentence(path: KeyPath, detail: ErrorDetails, model: type[BaseModel]) -> str:
    name = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return _unknown_setting(path, model)
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{name} is a section: its settings stand indented below it."
    if detail["type"] == "missing":
        return f"{name} is missing."
    message = detail["msg"]
    if detail["type"] == "value_error":
        reason = message.removeprefix("Value error, ")
        return f"{name}: {reason}." if name else f"{reason}."
    allowed = message.replace("Input should", "it should", 1)
    if detail["type"] == "literal_error":
        names = re.findall("'([^']*)'", message)
        guess = nearest(str(detail["input"]), names) if len(names) > 1 else None
        allowed += f" (did you mean '{guess}'?)" if guess else ""
    given = "what is given" if _is_secret(path, model) else _shown(detail["input"])
    return f"{name} cannot be {given}: {allowed[0].lower()}{allowed[1:]}."


def _is_secret(path: KeyPath, model: type[BaseModel]) -> bool:
    if any(_SECRET_NAMES.search(part) for part in path):
        return True
    return any(_is_of_secrets(_annotation(model, path[:length])) for length in range(1, len(path) + 1))


def _is_of_secrets(annotation: Any) -> bool:
    """Whether a type is that of a secret, or of secrets by name."""
    return annotation is SecretStr or any(_is_of_secrets(part) for part in get_args(annotation))


def _unknown_setting(path: KeyPath, model: type[BaseModel]) -> str:
    *parents, key = path
    known = _fields(model, tuple(parents))
    guess = nearest(key, known)
    if not parents:
        hint = f": did you mean {guess}?" if guess else f". There are: {', '.join(known)}."
        return f"There is no section {key}{hint}"
    name = ".".join(path)
    elsewhere = [section for section in model.model_fields if key in _fields(model, (section,))]
    if elsewhere:
        return f"There is no setting {name}: did you mean {elsewhere[0]}.{key}?"
    if guess:
        return f"There is no setting {name}: did you mean {'.'.join((*parents, guess))}?"
    return f"There is no setting {name}. Section {'.'.join(parents)} has: {', '.join(known)}."


def _fields(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The settings of a section, which may be a list's element or a section within one."""
    section = next(iter(_model_types(_annotation(model, path))), None)
    return list(section.model_fields) if section else []


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """What a setting, or a section, is typed as; None where the path leads to neither."""
    annotation: Any = model
    for part in path:
        if part.isdigit():
            continue
        section = next(iter(_model_types(annotation)), None)
        if section is None or part not in section.model_fields:
            return None
        annotation = section.model_fields[part].annotation
    return annotation


def _model_types(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [found for argument in arguments for found in _model_types(argument)]


def _shown(value: object) -> str:
    # What is made of settings may hold a secret.
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else f"{text[:_LONGEST_VALUE_SHOWN]}…"

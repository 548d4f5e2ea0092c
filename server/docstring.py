"""What a Google-style docstring says of a function and its parameters."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?|Attributes):\s*$")
_PARAMETERS = ("Args", "Arguments", "Parameters")
_ENTRY = re.compile(r"^\*{0,2}(?P<name>\w+)\s*(\([^)]*\))?\s*:\s*(?P<text>.*)$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, taken apart.

    Attributes:
        text: all before its first section, and what the function returns.
        parameters: what is said of each.
    """

    text: str
    parameters: dict[str, str]


def parsed(docstring: str) -> Docstring:
    """Takes a docstring apart.

    Sections begin at the margin, a parameter's entry at its section's indentation; what is indented further
    goes on with it.
    """
    section: str | None = None
    text: list[str] = []
    returns: list[str] = []
    parameters: dict[str, str] = {}
    name: str | None = None
    indentation: int | None = None
    for line in inspect.cleandoc(docstring).splitlines():
        if heading := _SECTION.match(line):
            section, name, indentation = heading[1], None, None
        elif section is None:
            text.append(line)
        elif section == "Returns":
            returns.append(line.strip())
        elif section in _PARAMETERS and line.strip():
            depth = len(line) - len(line.lstrip())
            indentation = depth if indentation is None else indentation
            entry = _ENTRY.match(line.strip()) if depth == indentation else None
            if entry is not None:
                name = entry["name"]
                parameters[name] = entry["text"]
            elif name is not None:
                parameters[name] = f"{parameters[name]} {line.strip()}".strip()
    described = "\n".join(text).strip()
    returned = " ".join(filter(None, returns))
    paragraphs = [described, f"Returns: {returned}" if returned else ""]
    return Docstring("\n\n".join(filter(None, paragraphs)), parameters)

"""What the two turn machines share: a table of transitions, and what happens to an event that it forbids.

A machine is sans-IO: events with timestamps go in, commands come out. Each cell of its table has exactly one
target, so the diagram in the docs is the table, drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, TypeVar

StateT = TypeVar("StateT", bound=Enum)

Table: TypeAlias = Mapping[tuple[StateT, type], StateT]
"""Where an event leads from a state. A pair that is absent is illegal."""


class IllegalEvent(Exception):
    """An event that the machine's state has no transition for: a bug in whoever feeds it."""

    def __init__(self, state: Enum, event: object) -> None:
        super().__init__(f"{type(event).__name__} is illegal in {state.name}")
        self.state = state
        self.event = event


def follow(table: Table[StateT], state: StateT, event: object) -> StateT:
    """The state after the event.

    Raises:
        IllegalEvent: the table has no such cell.
    """
    try:
        return table[state, type(event)]
    except KeyError:
        raise IllegalEvent(state, event) from None


def mermaid(table: Table[StateT], initial: StateT) -> str:
    """The table as a Mermaid state diagram, for the docs."""
    arrows: dict[tuple[StateT, StateT], list[str]] = {}
    for (state, event), target in table.items():
        arrows.setdefault((state, target), []).append(event.__name__)
    lines = ["stateDiagram-v2", f"    [*] --> {initial.name}"]
    lines += [f"    {a.name} --> {b.name}: {', '.join(names)}" for (a, b), names in arrows.items()]
    return "\n".join(lines)

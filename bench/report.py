"""How a bench tells its figures: spreads, a Markdown table, a JSON document, the machine beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.calibration import Machine


@dataclass(frozen=True, slots=True)
class Spread:
    """How values lie.

    Attributes:
        count: how many there are.
        p50: the median.
        p95: by linear interpolation between the two nearest.
        max: the largest.
    """

    count: int
    p50: float
    p95: float
    max: float


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of those that are there; None where none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p95 = (round(percentile(known, percent), 1) for percent in (50, 95))
    return Spread(len(known), p50, p95, round(max(known), 1))


def whole(value: float | None) -> str:
    """A figure of a table without decimals; a dash for none."""
    return "–" if value is None else f"{value:.0f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are aligned to the right."""
    lines: list[Sequence[str]] = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine_line(machine: Machine) -> str:
    """What stands below every table."""
    return (
        f"{machine.cpu}, {machine.cores} cores; calibration: matmul {machine.matmul_ms} ms, Python "
        f"{machine.python_ms} ms; load before {machine.load}."
    )


def all_met(reached: Iterable[tuple[str, bool]]) -> bool:
    """Prints what became of each bar. Returns whether all of them are met."""
    everything = True
    for label, met in reached:
        print(f"{'met' if met else 'NOT MET'}: {label}")
        everything = everything and met
    return everything


def write_json(path: Path, machine: Machine, figures: Mapping[str, Any], details: Iterable[Any] = ()) -> None:
    """Writes the document of a run.

    Args:
        path: written anew.
        machine: what it ran on.
        figures: what the tables say, and more.
        details: dataclasses, one a turn, an event, a call.
    """
    document = {
        "machine": machine.as_dict(),
        "figures": figures,
        "details": [asdict(detail) for detail in details],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")

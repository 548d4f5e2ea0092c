"""How long calls take to stand over a network that is bad from their first packet on."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence

from bench.impaired_calls import CONNECT_TIMEOUT_S, impaired_calls
from bench.udp_relay import Impairment
from signaling.hearing import CallFailed


def connected_after_s(impairment: Impairment, calls: int) -> list[float | None]:
    """Makes so many calls, one after the other.

    Args:
        impairment: of both directions, by other chances in each call.
        calls: how many.

    Returns:
        For each call: how long it took, its data channel included, in seconds;
        None beyond `CONNECT_TIMEOUT_S`.
    """
    return [asyncio.run(_connected_after_s(impairment, seed)) for seed in range(calls)]


async def _connected_after_s(impairment: Impairment, seed: int) -> float | None:
    connected_s = None
    try:
        async with impaired_calls(1, impairment, seed) as (call,):
            connected_s = call.caller.setup.connected_s if call.caller.setup else None
    except* CallFailed:
        pass
    return connected_s


def connecting_table(connecting: Mapping[str, Sequence[float | None]]) -> str:
    """The figures for people, as Markdown; empty where there are none."""
    if not connecting:
        return ""
    rows = [
        "| network | calls | stands after, p50 (s) | p95 | worst | never |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, times in connecting.items():
        stood = sorted(time_s for time_s in times if time_s is not None)
        all_s = [*stood, *[CONNECT_TIMEOUT_S] * (len(times) - len(stood))]
        p95_s = statistics.quantiles(all_s, n=20, method="inclusive")[-1] if len(all_s) > 1 else all_s[0]
        rows.append(
            f"| {name} | {len(times)} | {statistics.median(all_s):.2f} | {p95_s:.2f}"
            f" | {all_s[-1]:.2f} | {len(times) - len(stood)} |"
        )
    return "\n".join(rows)

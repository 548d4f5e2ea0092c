"""Sends to every protocol what should not be sent to it: `python -m tests.fuzz --examples 100000`.

Each target's messages are answered with typed errors, its calls go on, and so do those beside them; nothing
is left behind when they end.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import psutil

from tests.fuzz.targets import TARGETS

ROUND = 200
"""Examples that Hypothesis tries in one go: it remembers all of them until it has done."""
MAX_GROWTH_MB = 64
"""What the process may have grown by since its first round: more would be a leak."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100_000, help="messages, of all targets together")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="only this one")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    targets = [target for target in TARGETS if arguments.target in (None, target.name)]
    each = -(-arguments.examples // len(targets))
    grown = False
    for target in targets:
        rounds = -(-each // (target.batch * ROUND))
        began_s = time.perf_counter()
        target.check(ROUND)
        before_mb = _resident_mb()
        for _ in range(rounds - 1):
            target.check(ROUND)
        growth_mb = _resident_mb() - before_mb
        grown = grown or growth_mb > MAX_GROWTH_MB
        seconds = time.perf_counter() - began_s
        messages = rounds * ROUND * target.batch
        print(
            f"{target.name}: {messages} messages in {seconds:.0f} s, memory {growth_mb:+.0f} MB", flush=True
        )
    if grown:
        print("The memory grew: something is left behind.", file=sys.stderr)
    return int(grown)


def _resident_mb() -> float:
    resident: int = psutil.Process().memory_info().rss
    return resident / 1e6


if __name__ == "__main__":
    sys.exit(main())

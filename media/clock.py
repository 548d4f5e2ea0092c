"""The only place that reads a clock.

Code that runs on the event loop takes its time from the loop, so that a virtual-time loop in the tests
controls all of it. Engine threads, which have no loop, measure their own work with `thread_time_s`.
The wall clock serves logs and expiry only; it may jump.
"""

import asyncio
import time


def loop_time_s() -> float:
    """Seconds on the running event loop's clock. Monotonic; its zero means nothing."""
    return asyncio.get_running_loop().time()


def thread_time_s() -> float:
    """Seconds on a monotonic clock for code outside the loop (engine threads, start-up)."""
    return time.monotonic()


def wall_time_s() -> float:
    """Seconds since the Unix epoch. For logs and expiry only."""
    return time.time()

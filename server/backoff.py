"""How long to wait before what dies young is started again."""

from __future__ import annotations

SHORT_LIFE_S = 60.0
"""What has lived for so long died of something else than its start."""

LONGEST_DELAY_S = 30.0


def delay_s(short_lives: int) -> float:
    """It is started again at once, then after 0.5 s, 1 s, 2 s … up to `LONGEST_DELAY_S`.

    Args:
        short_lives: how many there were in a row.
    """
    return 0.0 if short_lives < 2 else min(LONGEST_DELAY_S, 0.5 * 2 ** min(short_lives - 2, 10))

"""A step that computes several requests and fails is one failure, however many of them it fails."""

from __future__ import annotations

_STEP = "failed_step"


def mark_failed_step(error: BaseException) -> None:
    """Marks what a step raised, before those who wait for its answers are given it."""
    setattr(error, _STEP, object())


def failed_step_of(error: BaseException) -> object | None:
    """Which step it was, for comparison alone: the same object for all of its requests, whatever became of
    the error on its way. None where no step of several is known to have failed."""
    at: BaseException | None = error
    while at is not None:
        step: object | None = getattr(at, _STEP, None)
        if step is not None:
            return step
        at = at.__cause__
    return None

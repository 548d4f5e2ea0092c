"""Gives memory that was freed back to the system."""

from __future__ import annotations

import ctypes


def give_back_freed() -> None:
    """What a model's loading used and its closing freed stays with glibc otherwise (25-50 MB a model).

    Takes some 10 ms. Does nothing where the C library has no `malloc_trim` (macOS, musl).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

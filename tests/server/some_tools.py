"""Functions of all kinds, as a user may register them as tools."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from media.errors import ToolError

release = threading.Event()
"""What `block` waits for."""
mood: contextvars.ContextVar[str] = contextvars.ContextVar("mood", default="none")


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Place(BaseModel):
    """Where something is."""

    city: str
    country: str = "de"


@dataclass
class Forecast:
    place: Place
    day: date
    degrees: float


async def forecast(
    place: Place,
    day: date,
    unit: Unit = Unit.CELSIUS,
    *,
    detail: Annotated[Literal["short", "long"], Field(description="How much is told.")] = "short",
) -> Forecast:
    """Says what the weather will be.

    Use it for days to come
    alone.

    Args:
        place: where, as exactly as
            it is known
        day (date): which day
        unit: of the temperature: degrees

    Returns:
        The forecast.

    Raises:
        ValueError: never.
    """
    await asyncio.sleep(0)
    return Forecast(place, day, 20.5 if unit is Unit.CELSIUS else 68.9)


def double(number: int) -> int:
    """Doubles a number."""
    return 2 * number


def where() -> str:
    """Says on which thread it runs, and in what mood."""
    return f"{threading.current_thread().name}, {mood.get()}"


def block() -> str:
    """Blocks until it is let go."""
    release.wait(10)
    return "let go"


async def hang() -> None:
    """Takes for ever."""
    await asyncio.Event().wait()


def nothing() -> None:
    """Does something and says nothing of it."""


def bad(kind: str) -> str:
    """Fails in the way that is asked for."""
    if kind == "stop":
        raise StopIteration
    if kind == "told":
        raise ToolError("There is no such room.")
    if kind == "time":
        raise TimeoutError("the boiler was slow")
    if kind == "leave":
        sys.exit("no boiler")
    raise RuntimeError("the boiler is cold")


async def leave() -> None:
    """Ends the program, as scripts do where something is missing."""
    sys.exit("no boiler")


def positional(first: str, second: str = "b", /, third: str = "c") -> str:
    """Joins words."""
    return f"{first} {second} {third}"


def awkward(schema: str, copy: int = 1, title: str = "none") -> str:
    """Takes what models call their methods.

    Args:
        title: of honour
    """
    return f"{schema} {copy} {title}"


def much() -> str:
    """Says a megabyte."""
    return "x" * 1_000_000


class Counter:
    """Counts up."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def reset(self) -> str:
        """Counts from the beginning."""
        self.count = 0
        return "reset"


count = Counter()


def multiply(factor: int, number: int) -> int:
    """Multiplies a number."""
    return factor * number


triple = functools.partial(multiply, 3)
nameless = functools.partial(lambda number: number)


def timed(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@timed
async def decorated(word: str) -> str:
    """Says a word."""
    return f"{word}!"


# What is no tool


def untold(number: int) -> int:
    return number


def untyped(number) -> int:  # type: ignore[no-untyped-def]
    """Has no type hint."""
    return int(number)


def any_number(*numbers: int) -> int:
    """Takes any number of numbers."""
    return sum(numbers)


def strange(lock: threading.Event) -> str:
    """Takes what no JSON can say."""
    return str(lock)


def unknown(number: NoSuchType) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Takes what is not there."""
    return str(number)


def several() -> Iterator[str]:
    """Says several things."""
    yield "one"


async def several_later() -> AsyncIterator[str]:
    """Says several things."""
    yield "one"


VALUE = 7

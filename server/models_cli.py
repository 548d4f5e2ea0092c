"""`voxtral-kokoro models list|fetch|verify`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from media.errors import VoxtralKokoroError
from server.catalogue import Model
from server.model_fetch import FetchProgress, fetch
from server.model_store import ROOT_VARIABLE, ModelStore, default_root

_MB = 1_000_000
_CLEAR_TO_END = "\x1b[K"
_CLEAR_LINE = "\r" + _CLEAR_TO_END


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to those of `voxtral-kokoro`; `run` carries it out."""
    parser = subparsers.add_parser("models", help="list, fetch and verify the embedded models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, action, summary in _ACTIONS:
        action_parser = actions.add_parser(name, help=summary, description=summary)
        action_parser.add_argument(
            "names", nargs="*", metavar="NAME", help="a model; all of them if none is named"
        )
        action_parser.add_argument(
            "--models-dir",
            type=Path,
            default=None,
            help=f"where the models are (default: ${ROOT_VARIABLE}, or {default_root()})",
        )
        action_parser.set_defaults(run_action=action)


def run(args: argparse.Namespace) -> int:
    """Carries the command out.

    Returns:
        The exit status: 0, or 1 if a model is bad or could not be had (said on stderr).
    """
    store = ModelStore(args.models_dir or default_root())
    action: Callable[[ModelStore, tuple[Model, ...]], int] = args.run_action
    try:
        return action(store, store.catalogue.select(args.names))
    except VoxtralKokoroError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: what is complete is kept.", file=sys.stderr)
        return 130


def list_models(store: ModelStore, models: tuple[Model, ...]) -> int:
    rows: list[tuple[str, ...]] = [("NAME", "ROLE", "SIZE", "LICENCE", "STATE", "SOURCE")]
    for model in models:
        sources = "; ".join(str(source) for source in model.sources)
        size = f"{model.size_bytes / _MB:.1f} MB"
        rows.append((model.name, model.role, size, model.licence, store.state(model), sources))
    print("\n".join(_aligned(rows)))
    print(f"\n{sum(model.size_bytes for model in models) / _MB:.0f} MB in {store.root}")
    return 0


def fetch_models(store: ModelStore, models: tuple[Model, ...]) -> int:
    count = asyncio.run(fetch(store, models, progress_on(sys.stderr)))
    done = f"fetched {count}" if count else "nothing to fetch"
    print(f"Models ready in {store.root} ({done}).")
    return 0


def verify_models(store: ModelStore, models: tuple[Model, ...]) -> int:
    bad = 0
    for model in models:
        faults = list(store.faults(model))
        bad += bool(faults)
        print(f"{model.name}: {'; '.join(_shortened(faults)) or 'ok'}")
    if bad:
        print(f"{bad} of {len(models)} are bad: run `{store.fetch_command}`.", file=sys.stderr)
    return 1 if bad else 0


_ACTIONS = (
    ("list", list_models, "show the models, where they come from and whether they are here"),
    ("fetch", fetch_models, "download what is missing; each file is checked against its SHA-256"),
    ("verify", verify_models, "read every file and compare its SHA-256; exit status 1 if one is bad"),
)


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _shortened(faults: list[str], most: int = 3) -> list[str]:
    return faults if len(faults) <= most else [*faults[:most], f"and {len(faults) - most} more"]


def progress_on(stream: TextIO) -> FetchProgress:
    """One line a package, and on a terminal a bar below them."""
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


class LineProgress:
    """A line for each package that came."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._package = ""
        self._size_bytes = 0

    def planned(self, size_bytes: int) -> None:
        self.note(f"Fetching {size_bytes / _MB:.0f} MB of models.")

    def started(self, package: str, size_bytes: int) -> None:
        self._package, self._size_bytes = package, size_bytes

    def advanced(self, done_bytes: int) -> None:
        pass

    def finished(self, took_s: float) -> None:
        self.note(f"  {self._package:<36} {self._size_bytes / _MB:6.1f} MB {took_s:6.1f} s")

    def failed(self) -> None:
        pass

    def note(self, sentence: str) -> None:
        print(sentence, file=self._stream, flush=True)


class BarProgress(LineProgress):
    """The same lines, and below them a bar: how much of everything is here, and what is under way."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._total_bytes = 0
        self._earlier_bytes = 0

    def planned(self, size_bytes: int) -> None:
        super().planned(size_bytes)
        self._total_bytes = size_bytes

    def advanced(self, done_bytes: int) -> None:
        # The client may keep more than the package itself while it works: that is no download.
        self._draw(self._earlier_bytes + min(done_bytes, self._size_bytes))

    def finished(self, took_s: float) -> None:
        super().finished(took_s)
        self._earlier_bytes += self._size_bytes

    def failed(self) -> None:
        self._stream.write(_CLEAR_LINE)

    def note(self, sentence: str) -> None:
        self._stream.write(_CLEAR_LINE)
        super().note(sentence)

    def _draw(self, done_bytes: int, width: int = 24) -> None:
        done_bytes = min(done_bytes, self._total_bytes)
        filled = round(width * done_bytes / max(self._total_bytes, 1))
        bar = "█" * filled + "·" * (width - filled)
        line = f"{bar} {done_bytes / _MB:4.0f} of {self._total_bytes / _MB:.0f} MB  {self._package}"
        self._stream.write("\r" + line[: shutil.get_terminal_size().columns - 1] + _CLEAR_TO_END)
        self._stream.flush()

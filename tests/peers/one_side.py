"""One side of a call as a process of its own, which a test may start inside a network namespace.

    python -m tests.peers.one_side serve PORT ICE
    python -m tests.peers.one_side call URL CALLS LIMIT_S

The first is the whole server around scripted engines, until its stdin ends; ICE is section `ice` of its
configuration, in JSON. The second makes so many calls at once, waits for the greeting in each, and writes to
stdout what became of them, in JSON. `served` and `called` start them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from media.errors import VoxtralKokoroError
from server.config import Config
from server.serve import running_server
from signaling.caller import Caller, CallerOptions
from tests.scripted import ScriptedEngines

ROOT = Path(__file__).resolve().parent.parent.parent
CALL_LIMIT_S = 20.0

_COMMAND = (sys.executable, "-m", "tests.peers.one_side")
_STARTING_S = 30.0
_GREETED = {"greeting": "Good day."}


@contextmanager
def served(within: Sequence[str] = (), port: int = 0, **ice: Any) -> Iterator[str]:
    """A server, ready. Gives the page's URL as it is on the server's own machine.

    Args:
        within: the beginning of a command that runs the rest of it somewhere else.
        port: TCP port of the page; 0 for any.
        ice: settings of section `ice`.
    """
    command = [*within, *_COMMAND, "serve", str(port), json.dumps(ice)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield url
        finally:
            process.stdin.close()
            assert process.wait(timeout=30) == 0


def called(
    url: str, within: Sequence[str] = (), count: int = 1, limit_s: float = CALL_LIMIT_S
) -> list[dict[str, Any]]:
    """So many calls at once, and what became of each: whether the greeting was `heard`, or else `why` not."""
    command = [*within, *_COMMAND, "call", url, str(count), str(limit_s)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=3 * limit_s + _STARTING_S
    )
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    return outcomes


async def _serve(port: int, ice: dict[str, Any]) -> None:
    settings = {
        "server": {"host": "0.0.0.0", "port": port, "health_port": 0, "drain_timeout_s": 0},
        "ice": ice,
    }
    async with running_server(Config.model_validate(settings), ScriptedEngines().engines()) as server:
        await server.engine_set.until_ready()
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _call(url: str, limit_s: float) -> dict[str, Any]:
    try:
        async with Caller(url, CallerOptions(session=_GREETED, connect_timeout_s=limit_s)) as caller:
            async with asyncio.timeout(limit_s):
                await caller.next_audible(0)
            return {"heard": True, "answer": caller.answer_sdp}
    except (VoxtralKokoroError, TimeoutError) as error:
        return {"heard": False, "why": str(error) or type(error).__name__}


async def _calls(url: str, count: int, limit_s: float) -> None:
    print(json.dumps(await asyncio.gather(*(_call(url, limit_s) for _ in range(count)))))


def main() -> None:
    match sys.argv[1:]:
        case ["serve", port, ice]:
            asyncio.run(_serve(int(port), json.loads(ice)))
        case ["call", url, count, limit_s]:
            asyncio.run(_calls(url, int(count), float(limit_s)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

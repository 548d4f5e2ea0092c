"""One side of a call, as a process that a test starts inside a network namespace.

    python -m tests.peers.in_namespace serve PORT ICE
    python -m tests.peers.in_namespace call URL CALLS LIMIT_S

The first is the whole server around scripted engines, until its stdin ends; ICE is section `ice` of its
configuration, in JSON. The second makes so many calls at once, waits for the greeting in each, and writes to
stdout what became of them, in JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from media.errors import VoxtralKokoroError
from server.config import Config
from server.serve import running_server
from signaling.caller import Caller, CallerOptions
from tests.scripted import ScriptedEngines

READY = "ready"


async def serve(port: int, ice: dict[str, Any]) -> None:
    settings = {
        "server": {"host": "0.0.0.0", "port": port, "health_port": 0, "drain_timeout_s": 0},
        "ice": ice,
    }
    async with running_server(Config.model_validate(settings), ScriptedEngines().engines()) as server:
        await server.engine_set.until_ready()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def call(url: str, limit_s: float) -> dict[str, Any]:
    try:
        async with Caller(url, CallerOptions(connect_timeout_s=limit_s)) as caller:
            async with asyncio.timeout(limit_s):
                await caller.next_audible(0)
            assert caller.setup is not None
            return {"heard": True, "connected_s": caller.setup.connected_s, "answer": caller.answer_sdp}
    except (VoxtralKokoroError, TimeoutError) as error:
        return {"heard": False, "why": str(error) or type(error).__name__}


async def calls(url: str, count: int, limit_s: float) -> None:
    print(json.dumps(await asyncio.gather(*(call(url, limit_s) for _ in range(count)))))


def main() -> None:
    match sys.argv[1:]:
        case ["serve", port, ice]:
            asyncio.run(serve(int(port), json.loads(ice)))
        case ["call", url, count, limit_s]:
            asyncio.run(calls(url, int(count), float(limit_s)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""An engine process with scripted engines. `$SCRIPTED_ENGINES` says how they behave."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from media.engines import host
from media.engines.host import HostedEngines
from media.engines.wire import CameBack, FellBack
from media.errors import EngineError, ModelMissing
from server.config import Config
from server.engine_host import main
from server.engines import Tell
from tests.scripted import ScriptedEngines, ScriptedLlm


class _DeadlyLlm(ScriptedLlm):
    async def start(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class _ChattyLlm(ScriptedLlm):
    async def start(self) -> None:
        logging.getLogger("media.engines.chatty").info("loaded", extra={"layers": 12, "model": object})
        logging.getLogger("media.engines.chatty").debug("every tensor")
        try:
            raise EngineError("a cold cache")
        except EngineError:
            logging.getLogger("media.engines.chatty").exception("slow")


def _no_pools() -> Any:
    raise RuntimeError("CUDA error: unspecified launch failure")


def build(_config: Config, tell: Tell) -> HostedEngines:
    behaviour = os.environ.get("SCRIPTED_ENGINES")
    if behaviour == "missing":
        raise ModelMissing("Fetch the model.")
    if behaviour == "crash":
        os.abort()
    if behaviour == "lost its device":
        host.pools = _no_pools
    if behaviour == "failing":
        tell(FellBack("stt", "far away", "stt_timeout", "It says nothing."))
        tell(CameBack("stt", "far away"))
        tell(FellBack("llm", "far away", "llm_unreachable", "It is not there."))
    llm = {"deadly": _DeadlyLlm, "chatty": _ChattyLlm}.get(behaviour or "", ScriptedLlm)
    scripted = ScriptedEngines(llm=llm(name=f"scripted, process {os.getpid()}"))
    return HostedEngines(scripted.turn_end, scripted.stt, scripted.llm, scripted.tts)


if __name__ == "__main__":
    main(build)

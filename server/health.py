"""What probes and dashboards ask, on a port of its own (8005): alive? ready? how are things?

Nothing here computes much: the machine is looked at by `ResourceSampler` at its own pace, latencies are
summed up when they change. Polling ten times a second costs a call nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version

from aiohttp import web

from media.clock import loop_time_s
from server.calls import Calls
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_set import EngineSet
from server.gpu_watch import GpuWatch
from server.metrics import Metrics
from server.performance import analysed
from server.resources import ResourceSampler
from server.telephone import Telephone
from server.toolbox import ServerToolbox

VERSION = version("voxtral-kokoro")

_PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Answers the probes.

    Args:
        engine_set: the engines and how far they are.
        calls: the slots.
        metrics: what happened so far.
        resources: the machine, as last looked at.
        process: the engines'; None where they are in this one.
        toolbox: what LLMs may call in this server.
        failures: the engines that failed.
        gpus: how full they are.
        telephone: what brings and places telephone calls.
    """

    def __init__(
        self,
        engine_set: EngineSet,
        calls: Calls,
        metrics: Metrics,
        resources: ResourceSampler,
        process: EngineProcess | None = None,
        toolbox: ServerToolbox | None = None,
        failures: EngineFailures | None = None,
        gpus: GpuWatch | None = None,
        telephone: Telephone | None = None,
    ) -> None:
        self._engine_set = engine_set
        self._calls = calls
        self._metrics = metrics
        self._resources = resources
        self._process = process
        self._toolbox = toolbox
        self._failures = failures or EngineFailures()
        self._gpus = gpus
        self._telephone = telephone
        self._began_s = loop_time_s()

    def app(self) -> web.Application:
        """The application of the health port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/status", self._status),
                web.get("/metrics", self._prometheus),
                web.get("/speech-to-speech/metrics", self._speech_metrics),
                web.get("/speech-to-speech/performance", self._performance),
            ]
        )
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        """The process lives and its loop turns."""
        return _json({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        """Whether a call that came now would be taken; if not, 503 and why."""
        refusal = self._calls.refusal()
        if refusal is None:
            return _json({"ready": True})
        body = {"ready": False, "code": refusal.code, "reason": str(refusal)}
        return _json(body, status=503, headers={"Retry-After": str(refusal.retry_after_s)})

    async def _status(self, _request: web.Request) -> web.Response:
        sample = self._resources.latest
        return _json(
            {
                "version": VERSION,
                "uptime_s": round(self._uptime_s(), 1),
                "ready": self._calls.refusal() is None,
                "draining": self._calls.draining,
                "calls": {"active": self._calls.active, "limit": self._calls.config.server.max_calls},
                "profile": self._calls.config.profile,
                "engines": {report.role: asdict(report) for report in self._engine_set.reports},
                "fallbacks_on_need": self._failures.loads,
                "engine_failures": self._failures.report,
                "faults": self._failures.faults.report,
                "engine_process": None if self._process is None else asdict(self._process.report),
                "tools": None if self._toolbox is None else self._toolbox.report,
                "telephone": None if self._telephone is None else self._telephone.report,
                "gpu_memory": None if self._gpus is None else self._gpus.report,
                "resources": None if sample is None else asdict(sample),
            }
        )

    async def _speech_metrics(self, _request: web.Request) -> web.Response:
        return _json(self._metrics.as_json(calls_active=self._calls.active, uptime_s=self._uptime_s()))

    async def _performance(self, _request: web.Request) -> web.Response:
        return _json(analysed(self._metrics.latency(), self._calls.config.speech_to_speech.targets))

    async def _prometheus(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.as_prometheus(), headers={"Content-Type": _PROMETHEUS_TEXT})

    def _uptime_s(self) -> float:
        return loop_time_s() - self._began_s


def _json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})

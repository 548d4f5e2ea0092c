"""A Pipecat voice agent on the embedded models. Runs in Pipecat's own environment: `pipecat_peer` makes it.

    python bench/pipecat_bot.py --port 8100 --llm http://127.0.0.1:8101/v1 \\
        --whisper FOLDER --kokoro FILE --voices FILE [--tuned]

Set up as Pipecat's documentation does: SmallWebRTC, Silero VAD, its default turn strategy (Smart Turn v3.2),
one pipeline for each call. With `--tuned`, everything that its users can set is set for speed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import onnxruntime
import uvicorn
from fastapi import BackgroundTasks, FastAPI
from kokoro_onnx import Kokoro
from pipecat.audio.turn.smart_turn.base_smart_turn import SmartTurnParams
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.kokoro.tts import KokoroTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

TUNED_VAD_STOP_S = 0.2
"""Its default, and what its turn strategy is made for."""
TUNED_FALLBACK_S = 1.0
"""How long a turn that sounds unfinished is waited for. Its default is 3 s."""
TUNED_OUTPUT_CHUNKS = 2
"""Of 10 ms, in what it sends at once. Its default is 4."""


class Bot:
    """Answers calls, each by a pipeline of its own.

    Args:
        options: the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.ready_pipelines = 0

    async def answer(self, connection: Any) -> None:
        """Runs one call to its end."""
        options = self._options
        transport = SmallWebRTCTransport(
            webrtc_connection=connection,
            params=TransportParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                **({"audio_out_10ms_chunks": TUNED_OUTPUT_CHUNKS} if options.tuned else {}),
            ),
        )
        stt = WhisperSTTService(
            device="cpu",
            compute_type="int8",
            settings=WhisperSTTService.Settings(model=str(options.whisper)),
        )
        llm = OpenAILLMService(
            api_key="none",
            base_url=options.llm,
            settings=OpenAILLMService.Settings(
                model="local",
                system_instruction=options.instructions,
                temperature=options.temperature,
                max_tokens=options.max_tokens,
            ),
        )
        context = LLMContextAggregatorPair(LLMContext(), user_params=self._turn_taking())
        stages = [transport.input(), stt, context.user(), llm, self._voice(), transport.output()]
        worker = PipelineWorker(
            Pipeline([*stages, context.assistant()]), params=PipelineParams(enable_metrics=True)
        )

        @worker.event_handler("on_pipeline_started")
        async def started(_worker: Any, _frame: Any) -> None:
            self.ready_pipelines += 1

        @transport.event_handler("on_client_disconnected")
        async def left(_transport: Any, _client: Any) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    def _turn_taking(self) -> LLMUserAggregatorParams:
        if not self._options.tuned:
            return LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
        patience = SmartTurnParams(stop_secs=TUNED_FALLBACK_S)
        judge = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=LocalSmartTurnAnalyzerV3(params=patience))
        return LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=TUNED_VAD_STOP_S)),
            user_turn_strategies=UserTurnStrategies(stop=[judge]),
        )

    def _voice(self) -> KokoroTTSService:
        options = self._options
        tts = KokoroTTSService(
            model_path=str(options.kokoro),
            voices_path=str(options.voices),
            settings=KokoroTTSService.Settings(voice=options.voice),
        )
        if options.tuned:
            # The service offers no session options: who wants threads that do not spin replaces its engine.
            session_options = onnxruntime.SessionOptions()
            session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(
                str(options.kokoro), session_options, providers=["CPUExecutionProvider"]
            )
            tts._kokoro = Kokoro.from_session(session, str(options.voices))
        return tts


def app_for(bot: Bot) -> FastAPI:
    """The two routes: the offer, and how many pipelines have become ready so far."""
    app = FastAPI()
    requests = SmallWebRTCRequestHandler()

    @app.post("/api/offer")
    async def offer(request: SmallWebRTCRequest, background: BackgroundTasks) -> Any:
        async def connected(connection: SmallWebRTCConnection) -> None:
            background.add_task(bot.answer, connection)

        return await requests.handle_web_request(request=request, webrtc_connection_callback=connected)

    @app.get("/ready-pipelines")
    async def ready_pipelines() -> int:
        return bot.ready_pipelines

    return app


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--llm", required=True, help="address of an OpenAI-style server, with /v1")
    parser.add_argument("--whisper", type=Path, required=True, help="folder of a CTranslate2 model")
    parser.add_argument("--kokoro", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--voices", type=Path, required=True, help="npz of voices")
    parser.add_argument("--voice", default="af_heart")
    parser.add_argument("--instructions", default="")
    parser.add_argument("--temperature", type=float, default=0.3)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--tuned", action="store_true")
    options = parser.parse_args()
    uvicorn.run(app_for(Bot(options)), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()

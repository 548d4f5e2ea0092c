"""ONNX Runtime sessions as every adapter here wants them: few threads, none of which spins."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _states

from media.engines.model_files import damaged, require_files
from media.errors import ModelMissing

ONNX_ERRORS: tuple[type[Exception], ...] = (
    _states.Fail,
    _states.InvalidArgument,
    _states.InvalidGraph,
    _states.InvalidProtobuf,
    _states.NoSuchFile,
    _states.NotImplemented,
    _states.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What loading and running a session raises: ONNX Runtime's exceptions have no base class of their own."""


def inference_session(model: Path | bytes, *, threads: int) -> ort.InferenceSession:
    """Loads a model for the CPU. Blocks, for some 10 ms to a second.

    Threads do not spin between operators: with several engines on few cores, spinning costs the others
    more than it gains (measured on two cores: a busy neighbour doubles the time of a spinning session).

    Args:
        model: the file, or a model that was already read (or rewritten) in memory.
        threads: for the work inside one operator; 1 runs everything on the calling thread.

    Raises:
        ModelMissing: the file is absent, truncated, or no ONNX model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors: a rewritten graph warns about every unused initializer
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if isinstance(model, Path):
        require_files(model)
    try:
        source = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except ONNX_ERRORS as error:
        if isinstance(model, Path):
            raise damaged(model) from error
        raise ModelMissing(f"ONNX Runtime cannot load a model of {len(model)} bytes: {error}") from error

"""What a backend's exception means: no memory was left, its device is gone, or something else went wrong.

Told by class names and words: whoever asks has not imported the backend. The words are those of PyTorch,
CUDA's libraries, ONNX Runtime, CTranslate2 and llama.cpp.
"""

from __future__ import annotations

from media.errors import EngineError, EngineOutOfMemory

DEVICE_LOST = "device_lost"
"""The code of what only another process mends: after such a failure CUDA fails whatever the process does."""

_OUT_OF_MEMORY_WORDS = (
    "out of memory",  # CUDA, CTranslate2, PyTorch
    "can't allocate memory",  # PyTorch on a CPU
    "not enough memory",  # the same, on Windows
    "failed to allocate",  # ONNX Runtime's arena, llama.cpp
    "bad_alloc",
    "bad allocation",
    "_status_alloc_failed",  # cuBLAS, cuDNN
)

_DEVICE_LOST_WORDS = (
    "cuda error",
    "cuda failure",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "_status_execution_failed",  # cuBLAS, cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a backend raised `error` since there was no memory for what it computes."""
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # PyTorch's
        or any(known in words for known in _OUT_OF_MEMORY_WORDS)
    )


def engine_error(engine: str, error: Exception) -> EngineError:
    """What a backend raised, as an error of ours.

    Args:
        engine: its name, for people.
        error: whatever was raised.
    """
    sentence = f"{engine}: {error}" if str(error) else f"{engine}: {type(error).__name__}"
    if is_out_of_memory(error):
        return EngineOutOfMemory(sentence)
    words = str(error).lower()
    if type(error).__name__ == "AcceleratorError" or any(known in words for known in _DEVICE_LOST_WORDS):
        return EngineError(sentence, code=DEVICE_LOST)
    return EngineError(sentence)

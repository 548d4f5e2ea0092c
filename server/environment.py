"""What the process's environment must say before an engine's library is loaded.

Only the command line's entry calls this, as its first act: the libraries read these variables once, when
they are imported.
"""

from __future__ import annotations

import os
import sys

THREADS_SLEEP = {
    # OpenMP (CTranslate2, and whatever else is linked with it): a thread that waits sleeps instead of
    # spinning. Several engines share few cores here; a spinning one doubles the time of its neighbour.
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",  # the same for Intel's and LLVM's runtime: sleep at once, not after 200 ms
    # The same for GNU's, but for some microseconds of spinning. llama.cpp's threads meet some 600 times for
    # each token. On two quiet cores two of them make 40 tokens a second at 0, 92 at 300, 112 at 3000 (one
    # thread: 75); beside one busy neighbour 43 at 300 and 18 at 3000 (one thread: 72).
    "GOMP_SPINCOUNT": "300",
    # NumPy's BLAS is used for small products only; its threads would spin for longer than they work.
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Set where the operator has not set them."""

CUDA_COUNTS_BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""As the management library does, by which GPUs are chosen (`server/gpu_devices.py`); CUDA's own way is the
fastest first. Set where the operator has not set it."""

GPU_MEMORY_GROWS = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
"""PyTorch's pieces of a GPU's memory grow where they are. Pieces of fixed sizes, as it takes them by itself,
are of use to no other size: batches of every length leave many behind. Versions before 2.9 do not read it."""

_OLDER_NAME = "PYTORCH_CUDA_ALLOC_CONF"
"""Says the same. An operator who sets it means it."""


def prepare_environment() -> None:
    """Makes the engines' threads sleep while they wait (or soon), CUDA count as we do, and PyTorch's memory
    grow, unless the environment says otherwise."""
    grows = {} if _OLDER_NAME in os.environ else GPU_MEMORY_GROWS
    for name, value in (THREADS_SLEEP | CUDA_COUNTS_BY_BUS | grows).items():
        os.environ.setdefault(name, value)


def set_thread_switch_interval(interval_ms: float) -> None:
    """How long a thread may hold Python's lock while another one waits for it.

    Python's default of 5 ms is a quarter of an audio packet, and an engine's thread that computes in Python
    delays the loop by it each time. Measured on two busy cores beside such a thread, timers of the loop are
    late by 13 ms (median) at 5 ms, by 5 ms at 1 ms, by 4 ms at 0.5 ms.
    """
    sys.setswitchinterval(interval_ms / 1000)

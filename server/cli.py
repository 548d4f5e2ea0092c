"""`voxtral-kokoro`: serve, engines, models, check-config, call."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from media.errors import ConfigError, VoxtralKokoroError
from server import models_cli
from server.config_sources import KeyPath, Source, from_arguments
from server.environment import prepare_environment

EXIT_FAILED = 1
EXIT_MISUSED = 2
"""The command line or the configuration is wrong; argparse's own number for it."""
EXIT_INTERRUPTED = 130

_SERVE_OPTIONS: tuple[tuple[str, KeyPath, str], ...] = (
    ("--host", ("server", "host"), "address for the page and the calls"),
    ("--port", ("server", "port"), "port of the page and the calls"),
    ("--health-port", ("server", "health_port"), "port of probes and metrics"),
    ("--max-calls", ("server", "max_calls"), "calls at once"),
    ("--voice", ("tts", "voice"), "the voice that answers"),
    ("--log-level", ("logging", "level"), "debug, info, warning or error"),
    ("--models", ("models", "directory"), "directory of the models"),
)
_ENGINES_OPTIONS: tuple[tuple[str, KeyPath, str], ...] = (
    ("--host", ("engine_host", "host"), "address to serve at"),
    ("--port", ("engine_host", "port"), "port to serve at"),
    *_SERVE_OPTIONS[-2:],
)
"""Settings that have an option of their own. All others: `config.yaml` or the environment."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Errors of ours are told in a sentence on standard error, without a traceback."""
    # First of all: the engines' libraries read the environment once, when they are imported. Nothing that
    # is imported above loads one; the commands import what they need.
    prepare_environment()
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_MISUSED
    except VoxtralKokoroError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voxtral-kokoro", description="A real-time media server that people talk to."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="run the server", description="Runs the server until Ctrl-C.")
    _add_config_option(serve)
    for option, (section, key), text in _SERVE_OPTIONS:
        serve.add_argument(option, dest=f"{section}.{key}", help=f"{text} ({section}.{key})")
    serve.add_argument(
        "--self-signed",
        dest="server.tls_self_signed",
        action="store_true",
        default=None,
        help="HTTPS with a certificate of the server's own making: phones need it for their microphone",
    )
    serve.set_defaults(command=_serve)

    engines = commands.add_parser(
        "engines",
        help="serve the engines to other machines",
        description="Serves the configured engines over OpenAI's HTTP API until Ctrl-C.",
    )
    _add_config_option(engines)
    for option, (section, key), text in _ENGINES_OPTIONS:
        engines.add_argument(option, dest=f"{section}.{key}", help=f"{text} ({section}.{key})")
    engines.set_defaults(command=_engines)

    check = commands.add_parser(
        "check-config",
        help="check the configuration",
        description="Checks the configuration.",
    )
    _add_config_option(check)
    check.add_argument("file", nargs="?", type=Path, help="the same as --config FILE")
    check.set_defaults(command=_check_config)

    models_cli.add_parser(commands)
    commands.choices["models"].set_defaults(command=_models)

    call = commands.add_parser(
        "call",
        help="call a server and talk to it from a file",
        description="Calls a server over WebRTC, says a WAV file, prints the answer and its latency.",
    )
    call.add_argument("url", metavar="URL", help="the server's page: http://127.0.0.1:8000")
    call.add_argument("--say", type=Path, required=True, metavar="WAV", help="what the caller says")
    call.add_argument("--record", type=Path, metavar="WAV", help="where to write what the caller hears")
    call.add_argument("--timeout", type=float, default=30.0, metavar="S", help="give up after (seconds)")
    call.add_argument("--insecure", action="store_true", help="accept a self-made certificate")
    call.set_defaults(command=_call)
    return parser


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (default: $VOXTRAL_KOKORO_CONFIG, or config.yaml of the checkout)",
    )


def _serve(arguments: argparse.Namespace) -> int:
    from server.config import load_config
    from server.gpu_plan import settled

    config = settled(load_config(arguments.config, os.environ, _settings_of(arguments)), os.environ)
    if not config.performance.engine_process:
        from server.serve import serve

        serve(config, None)
        return 0

    from server.engine_process import EngineProcess

    with EngineProcess(config) as process:
        # Takes a second, in which the other process imports the engines' libraries.
        from server.serve import serve

        serve(config, process)
    return 0


def _engines(arguments: argparse.Namespace) -> int:
    from server.config import load_config
    from server.gpu_plan import settled

    config = settled(load_config(arguments.config, os.environ, _settings_of(arguments)), os.environ)
    if not config.performance.engine_process:
        from server.serve_engines import serve_engines

        serve_engines(config, None)
        return 0

    from server.engine_process import EngineProcess

    with EngineProcess(config) as process:
        from server.serve_engines import serve_engines

        serve_engines(config, process)
    return 0


def _check_config(arguments: argparse.Namespace) -> int:
    from server.config import load_config
    from server.gpu_memory import in_gb
    from server.gpu_plan import needs_of, settled
    from server.toolbox import toolbox_of

    config = load_config(arguments.config or arguments.file, os.environ)
    toolbox_of(config.tools)
    print("The configuration is sound.")
    model, llm, tts = config.engine_names.values()
    print(f"Profile {config.profile}: {model}, {llm} and {tts}.")
    for need in needs_of(config):
        print(f"{need.what} needs {in_gb(need.size_bytes)} of a GPU.")
    try:
        settled(config, os.environ)
    except ConfigError as error:
        print(f"Not on this machine: {error}")
    if config.server.open_to_all:
        print("Anybody who reaches the server may call it: server.api_keys names no key.")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from server.config import load_config

    # Fetched to where the server will look for them.
    if arguments.models_dir is None:
        arguments.models_dir = load_config(None, os.environ).models.directory
    return models_cli.run(arguments)


def _call(arguments: argparse.Namespace) -> int:
    from server.call_cli import call

    return asyncio.run(
        call(
            arguments.url,
            say=arguments.say,
            record=arguments.record,
            timeout_s=arguments.timeout,
            insecure=arguments.insecure,
            # Not an option: what is on a command line, everybody on the machine can read.
            key=os.environ.get("VOXTRAL_KOKORO_KEY"),
        )
    )


def _settings_of(arguments: argparse.Namespace) -> Source:
    """What the options say, as settings. The configuration types the values, like the environment's."""
    settings: dict[KeyPath, Any] = {}
    places: dict[KeyPath, str] = {}
    for name, value in vars(arguments).items():
        section, dot, key = name.partition(".")
        if dot and value is not None:
            settings[section, key] = value
            places[section, key] = "on the command line"
    return from_arguments(settings, places)


if __name__ == "__main__":
    sys.exit(main())

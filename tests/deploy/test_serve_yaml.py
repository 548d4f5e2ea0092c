"""What `deploy/ray/serve.yaml` says fits the engine host that it runs. Without Ray."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

from server.config import Config

RAY = Path(__file__).resolve().parent.parent.parent / "deploy" / "ray"


def test_the_application_is_there_and_a_replica_is_given_as_much_as_it_takes() -> None:
    settings = yaml.safe_load((RAY / "serve.yaml").read_text())
    (application,) = settings["applications"]
    module, _, name = application["import_path"].partition(":")
    path = RAY.parent.parent.joinpath(*module.split(".")).with_suffix(".py")
    functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert name in functions
    (deployment,) = application["deployments"]
    host = Config().engine_host
    room = host.max_transcriptions + host.max_replies + host.max_clauses
    assert deployment["max_ongoing_requests"] == room
    assert deployment["autoscaling_config"]["target_ongoing_requests"] < room
    assert deployment["graceful_shutdown_timeout_s"] > Config().server.drain_timeout_s
    assert settings["http_options"]["port"] == host.port

"""The image's steps, without Docker: each is looked at, and done in a folder where that can be.

Not done: what needs root or another system (`apt-get install`, `useradd`, node's files), and what the steps
bring from registries; but the packages of both targets are resolved where `VOXTRAL_KOKORO_TEST_RESOLVE` is
set, which asks the registry and takes minutes.
"""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

from server.config import load_config
from tests.deploy.dockerfile import Stage, line_of, read

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = read(ROOT / "Dockerfile")
TARGETS = ("cpu", "gpu")
PACKAGES = sysconfig.get_path("purelib")
LIMIT_S = 120.0


def image_of(target: str) -> dict[str, str]:
    """The environment in a target."""
    return {name: value for stage in line_of(STAGES, target) for name, value in stage.environment.items()}


def shell(command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`/app` after the stage `dependencies`, but for the packages that are not ours, and with the files that
    the stage `application` copies."""
    folder = tmp_path_factory.mktemp("image") / "app"
    folder.mkdir()
    (stage,) = [STAGES["dependencies"]]
    for copy in stage.copies:
        copied(copy.sources, folder, copy.target)
    (run,) = stage.runs
    # Nothing is fetched: setuptools is the one that these tests have, and so are all packages but ours.
    assert ".venv/bin/pip install" in run
    python, options = sys.executable, "--no-deps --no-index --no-build-isolation --quiet"
    run = run.replace("python -c", f"{python} -c").replace("python -m venv", f"{python} -m venv")
    offline = f"PYTHONPATH={PACKAGES} .venv/bin/python -m pip install {options}"
    shell(run.replace(".venv/bin/pip install", offline), folder)
    (installed,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    (installed / "of_these_tests.pth").write_text(f"{PACKAGES}\n")
    for copy in STAGES["application"].copies:
        if copy.stage is None:
            copied(copy.sources, folder, copy.target)
    return folder


def copied(sources: tuple[str, ...], folder: Path, target: str) -> None:
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, folder / target)


def in_the_image(app: Path, *arguments: str, environment: Mapping[str, str]) -> str:
    """Runs the image's command."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("VOXTRAL", "PYTHON"))}
    done = subprocess.run(
        [app / ".venv" / "bin" / "voxtral-kokoro", *arguments],
        cwd=app,
        env={**own, **environment, "PATH": own["PATH"]},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_stage_is_built_on_an_image_or_an_earlier_stage() -> None:
    names = list(STAGES)
    for at, stage in enumerate(STAGES.values()):
        assert stage.name, "a stage without a name cannot be chosen"
        assert stage.base in names[:at] or ":" in stage.base
        for copy in stage.copies:
            assert copy.stage is None or copy.stage in names[:at]
    assert names[-1] == "cpu", "the default target is the last"
    assert set(TARGETS) < set(names)


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_what_is_copied_is_there_and_not_left_out(stage: Stage) -> None:
    left_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for copy in stage.copies:
        if copy.stage is None:
            for source in copy.sources:
                assert (ROOT / source).exists()
                assert any(fnmatch(source, pattern) for pattern in left_in), f"{source}: .dockerignore"
        elif copy.stage in ("dependencies", "dependencies-gpu"):
            assert copy.sources == ("/app/.venv",)
            assert any("-m venv .venv" in run for run in STAGES["dependencies"].runs)
        elif copy.stage == "models":
            assert any("mkdir /models" in run for run in STAGES["models"].runs)
        else:
            assert STAGES[copy.stage].base.startswith("node:")


def test_the_packages_are_installed_before_the_sources_are_there(app: Path) -> None:
    """The command that was installed for folders without anything finds what is in them later."""
    assert "check-config" in in_the_image(app, "--help", environment=image_of("cpu"))
    names = "server.cli, signaling.sip.framing, media.engines.host"
    where = f"import {names}; print(*(each.__file__ for each in ({names})))"
    said = shell(f"{app}/.venv/bin/python -P -c '{where}'", app.parent, PYTHONPATH="")
    assert said.split() == [
        f"{app}/{name}.py" for name in ("server/cli", "signaling/sip/framing", "media/engines/host")
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_the_configuration_in_the_image_is_one(app: Path, target: str) -> None:
    environment = image_of(target)
    if target == "gpu" and find_spec("kokoro") is None:
        pytest.skip("the extra gpu is not installed")
    said = in_the_image(app, "check-config", environment=environment)
    print(said)
    assert ("voxtral" if target == "gpu" else "whisper") in said
    assert environment["HF_HOME" if target == "gpu" else "VOXTRAL_KOKORO_MODELS_DIR"].startswith("/models")


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_and_the_ports_are_the_server_s(app: Path, target: str) -> None:
    stages = line_of(STAGES, target)
    (command,) = filter(None, (stage.last("CMD") for stage in stages))
    program, *arguments = json.loads(command)
    assert program == "voxtral-kokoro"
    in_the_image(app, *arguments, "--help", environment=image_of(target))
    environment = image_of(target) | {"VOXTRAL_KOKORO__PROFILE": "cpu"}
    config = load_config(ROOT / "config.yaml", environment)
    (exposed,) = filter(None, (stage.last("EXPOSE") for stage in stages))
    udp_port = environment["VOXTRAL_KOKORO__ICE__UDP_PORTS"]
    assert exposed.split() == [str(config.server.port), str(config.server.health_port), f"{udp_port}/udp"]
    assert (config.server.host, config.server.health_host) == ("0.0.0.0", "0.0.0.0")
    users = [rest for stage in stages for name, rest in stage.steps if name == "USER"]
    made = [shlex.split(run.partition("&&")[0]) for run in STAGES["application"].runs]
    assert users[-1] == made[0][-1] != "root"


def test_the_health_check_asks_the_server() -> None:
    (check,) = filter(None, (stage.last("HEALTHCHECK") for stage in line_of(STAGES, "cpu")))
    _, _, command = check.partition("CMD ")
    program, *arguments = json.loads(command)
    assert program == "python"
    config = load_config(ROOT / "config.yaml", {})
    asked: list[str] = []

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) == 1 else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            here = [
                each.replace(f":{config.server.health_port}/", f":{server.server_port}/")
                for each in arguments
            ]
            assert here != arguments
            statuses = [
                subprocess.run([sys.executable, *here], stderr=subprocess.DEVNULL).returncode for _ in "ab"
            ]
        finally:
            server.shutdown()
            thread.join()
    assert statuses == [0, 1]
    assert asked == ["/health", "/health"]


def test_models_are_fetched_or_left_for_a_volume(app: Path, tmp_path: Path) -> None:
    (_, fetching) = STAGES["models"].runs
    assert "--models-dir" in in_the_image(app, "models", "fetch", "--help", environment=image_of("cpu"))
    folders = fetching.replace("/models", f"{tmp_path}/models").replace("/cache", f"{tmp_path}/cache")
    program = tmp_path / "bin" / "voxtral-kokoro"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ntest "$1 $2 $3" = "models fetch --models-dir" && mkdir -p "$4/a" && touch "$4/a/model"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    shell(folders, tmp_path, MODELS="volume", PATH=path)
    assert not list((tmp_path / "models").iterdir())
    (tmp_path / "models").rmdir()
    shell(folders, tmp_path, MODELS="baked", PATH=path)
    assert (tmp_path / "models" / "a" / "model").exists()


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="this is no Debian")
def test_the_system_s_packages_are_there() -> None:
    wanted = [
        word
        for stage in STAGES.values()
        for run in stage.runs
        for command in run.split("&&")
        if "apt-get install" in command
        for word in command.split()[2:]
        if not word.startswith("--")
    ]
    assert {"libgomp1", "gcc"} <= set(wanted)
    for package in wanted:
        known = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
        if known.returncode and not any(Path("/var/lib/apt/lists").glob("*Packages*")):
            pytest.skip("apt has no lists here")
        assert known.returncode == 0, package


def python_of(image: str) -> str:
    """The image's Python, where it is here; else that of these tests."""
    there = shutil.which(f"python{image}")
    if there and subprocess.run([there, "--version"], capture_output=True, check=False).returncode == 0:
        return there
    return sys.executable


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not os.environ.get("VOXTRAL_KOKORO_TEST_RESOLVE"), reason="it asks the registry for long")
@pytest.mark.parametrize("stage", ["dependencies", "dependencies-gpu"])
def test_the_packages_of_a_target_go_together(stage: str, tmp_path: Path) -> None:
    """Resolved, and not installed."""
    image = STAGES["system"].base.partition(":")[2].partition("-")[0]
    python = python_of(image)
    (wanted,) = [word for run in STAGES[stage].runs for word in shlex.split(run) if word.startswith(".[")]
    shell(f"{python} -m venv {tmp_path}/venv", tmp_path)
    resolved = subprocess.run(
        [
            f"{tmp_path}/venv/bin/python",
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--report",
            "-",
            wanted,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resolved.returncode == 0, resolved.stderr
    chosen = {
        each["metadata"]["name"].lower(): each["metadata"]["version"]
        for each in json.loads(resolved.stdout)["install"]
    }
    print(f"\n{stage}, {python}: {len(chosen)} packages, torch {chosen.get('torch')}")
    assert ("torch" in chosen) == (stage == "dependencies-gpu")

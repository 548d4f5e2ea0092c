"""The command line as a user meets it: a real process, its words and its exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from media.audio import silence
from media.audio_file import write_wav

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "server.cli"]


def run(*arguments: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    env = {**os.environ, **variables}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_a_sound_configuration() -> None:
    result = run("check-config", "--config", ROOT / "config.yaml")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "The configuration is sound.\nProfile cpu: whisper, llama.cpp and kokoro.\n"


def test_a_configuration_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("server:\n  prot: 8000\ntts:\n  speed: fast\n")
    result = run("check-config", path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "bad.yaml, line 2: There is no setting server.prot: did you mean server.port?",
        "bad.yaml, line 4: tts.speed cannot be 'fast': it should be a valid number, "
        "unable to parse string as a number.",
    ]


def test_tools_that_cannot_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    (tmp_path / "home_tools.py").write_text("import no_such_module\n")
    path.write_text(f"tools: {{directory: {tmp_path}, python: ['home_tools:light', 'json:dumps']}}\n")
    result = run("check-config", path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "tools.python: home_tools:light: home_tools cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'.",
        "tools.python: json:dumps: it takes *kw, and each parameter needs a name of its own.",
    ]


def test_a_key_that_cannot_be_one_is_not_repeated() -> None:
    result = run("check-config", VOXTRAL_KOKORO__SERVER__API_KEYS='["sk-abc"]')
    assert result.returncode == 2
    assert "server.api_keys" in result.stderr
    assert "sk-abc" not in result.stderr


def test_a_server_that_is_open_to_all_is_said_to_be() -> None:
    result = run("check-config", VOXTRAL_KOKORO__SERVER__HOST="0.0.0.0")
    assert "server.api_keys" in result.stdout
    keys = '["0123456789abcdef"]'
    result = run(
        "check-config", VOXTRAL_KOKORO__SERVER__HOST="0.0.0.0", VOXTRAL_KOKORO__SERVER__API_KEYS=keys
    )
    assert "server.api_keys" not in result.stdout


def test_a_mistake_in_the_environment() -> None:
    result = run("check-config", VOXTRAL_KOKORO__SERVER__PORT="high")
    assert result.returncode == 2
    assert result.stderr.startswith("VOXTRAL_KOKORO__SERVER__PORT: server.port cannot be 'high'")


def test_an_option_that_is_wrong(tmp_path: Path) -> None:
    result = run("serve", "--port", "high", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("on the command line: server.port cannot be 'high'")


@pytest.mark.parametrize("command", [("serve", "--health-port", "0"), ("engines",)])
def test_serving_without_models_says_what_to_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command, "--models", tmp_path / "none", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    advice = f"Run `voxtral-kokoro models fetch --models-dir {tmp_path / 'none'}`."
    assert result.stderr.splitlines()[-1].endswith(advice)
    assert "Traceback" not in result.stderr


def test_calling_nobody(tmp_path: Path) -> None:
    path = tmp_path / "say.wav"
    write_wav(path, silence(1, 16_000))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = run("call", f"http://127.0.0.1:{port}", "--say", path)
    assert result.returncode == 1
    assert result.stderr.startswith("The server cannot be reached:")
    assert len(result.stderr.splitlines()) == 1


def test_calling_what_is_no_address(tmp_path: Path) -> None:
    write_wav(tmp_path / "say.wav", silence(0.1, 16_000))
    result = run("call", "localhost:8000", "--say", tmp_path / "say.wav")
    assert result.returncode == 1
    assert result.stderr == (
        "'localhost:8000' is not a server's address: write it as http://127.0.0.1:8000.\n"
    )


@pytest.mark.parametrize("content", [None, b"this is no sound"])
def test_saying_what_is_no_sound(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "say.wav"
    if content is not None:
        path.write_bytes(content)
    result = run("call", "http://127.0.0.1:9", "--say", path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{path} cannot be read: ")
    assert len(result.stderr.splitlines()) == 1


def test_no_command_and_an_unknown_one() -> None:
    assert run().returncode == 2
    assert run("sing").returncode == 2
    help_text = run("--help").stdout
    for command in ("serve", "models", "check-config", "call"):
        assert command in help_text


@pytest.mark.models
@pytest.mark.parametrize(
    ("command", "what", "says"),
    [
        (("serve", "--health-port", "0"), "server", "Open http://127.0.0.1:"),
        (("engines",), "engine host", "Media servers find these engines at http://127.0.0.1:"),
    ],
)
def test_serving_says_where_it_is_and_stops_when_told(
    tmp_path: Path, models_dir: Path, command: tuple[str, ...], what: str, says: str
) -> None:
    process = subprocess.Popen(
        [*COMMAND, *command, "--port", "0", "--models", str(models_dir)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if says in line:
                process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    assert [line.split(":")[0].split(" after")[0] for line in said][-1] == "Stopping"
    assert "Traceback" not in errors
    log = (tmp_path / "logs" / "voxtral-kokoro.log").read_text()
    assert f'msg="{what} ready"' in log
    assert f'msg="{what} stopped"' in log

"""The shape of the project: who may import whom, and where the transports may be seen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("media", "signaling", "server")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

PORTS = {
    "media.engines.protocols",
    "media.engines.inference",
    "media.engines.model_files",
    "media.engines.gpu_pool",
    "media.engines.memory",
    "media.engines.wire",
    "media.engines.channel",
    "media.engines.link",
    "media.engines.remote",
    "media.engines.host",
}
"""What of `media.engines` is no adapter."""

PEER_CONNECTIONS = {"signaling/webrtc_call.py", "signaling/peer_signals.py", "signaling/caller.py"}
"""The call that wraps one, the bridge of its callbacks, and the synthetic caller."""


@dataclass(frozen=True)
class Import:
    """One imported module, or a name out of it: `aiohttp.web` however it is written."""

    name: str
    line: int
    at_import: bool
    """Runs when the module is imported: not inside a function, not for type checkers only."""

    def is_of(self, *packages: str) -> bool:
        return any(self.name == package or self.name.startswith(f"{package}.") for package in packages)


def imports_of(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), at_import=True))


def _imports(node: ast.AST, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(alias.name, child.lineno, at_import) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                yield from (Import(f"{module}.{alias.name}", child.lineno, at_import) for alias in names)
            case ast.ImportFrom():
                raise AssertionError(f"line {child.lineno}: imports here name their module in full")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, at_import=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports(child, at_import=False)
            case _:
                yield from _imports(child, at_import=at_import)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_keeps_the_contract(path: Path) -> None:
    name = _name(path)
    package = path.relative_to(ROOT).parts[0]
    broken: list[str] = []

    def forbid(what: Import, reason: str) -> None:
        broken.append(f"{name}:{what.line}: imports {what.name}: {reason}")

    for what in imports_of(path):
        if package == "media" and what.is_of("signaling", "server"):
            forbid(what, "imports point one way, server → signaling → media")
        if package == "signaling" and what.is_of("server"):
            forbid(what, "signalling is handed what it needs")
        if package == "media" and what.is_of("yaml", "aiohttp.web", "prometheus_client", "argparse"):
            forbid(what, "media knows nothing of HTTP servers and configuration files")
        if what.is_of("aiohttp.web") and not _may_serve_http(name):
            forbid(what, "aiohttp's server side is for the server and signalling's route files")
        if what.is_of("aiortc.RTCPeerConnection") and name not in PEER_CONNECTIONS:
            forbid(what, f"peer connections appear only in {', '.join(sorted(PEER_CONNECTIONS))}")
        if _is_adapter(what) and package == "signaling":
            forbid(what, "only the server imports adapters")
        if _is_adapter(what) and package == "server" and what.at_import:
            forbid(what, "adapters are imported where they are made, inside a function")
        if _is_adapter(what) and package == "media" and not name.startswith("media/engines/"):
            forbid(what, "the conversation knows ports, not adapters")
    assert not broken, "\n".join(broken)


def _may_serve_http(name: str) -> bool:
    package, _, file = name.partition("/")
    return package == "server" or (
        package == "signaling"
        and ("routes" in file or file in ("problem.py", "guard.py", "request_body.py", "web_socket.py"))
    )


def _is_adapter(what: Import) -> bool:
    return what.is_of("media.engines") and not what.is_of(*PORTS)


def test_the_contract_sees_what_it_must_see(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from aiohttp import web\n"
        "import media.engines.whisper\n"
        "def lazily():\n    from media.engines.silero_vad import SileroVad\n"
    )
    web, whisper, silero = imports_of(module)
    assert web.is_of("aiohttp.web")
    assert _is_adapter(whisper)
    assert whisper.at_import
    assert _is_adapter(silero)
    assert not silero.at_import


def test_the_server_starts_without_loading_an_engine() -> None:
    """What reads the environment once (OpenMP, BLAS) is imported only after the command line prepared it."""
    script = (
        "import sys, server.cli\n"
        "loaded = {'numpy', 'ctranslate2', 'onnxruntime', 'xllamacpp', 'torch', 'av'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(loaded)) or 0)"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"`import server.cli` loads {result.stderr.strip()}"

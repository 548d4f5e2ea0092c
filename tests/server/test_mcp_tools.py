"""Tools of real MCP servers, over standard input and output and over HTTP: their lives, deaths and ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from mcp.shared.message import SessionMessage

from media.errors import ConfigError, ToolError
from server import mcp_tools
from server.event_loop import new_event_loop
from server.mcp_program import program as program_over_pipes
from server.tool_settings import ToolsSettings
from server.toolbox import ServerToolbox, toolbox_of
from tests.free_ports import free_tcp_port

T = TypeVar("T")

PROGRAM = str(Path(__file__).resolve().parent.parent / "mcp_server.py")
SUM = '{"first": 1, "second": 2}'


Loop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

LOOPS: list[Loop] = [new_event_loop, asyncio.new_event_loop]
"""The server's, and what it makes do with: they tell of a program's end in different ways."""


def run(main: Coroutine[Any, Any, T], loop: Loop) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def program(name: str = "home", **more: Any) -> dict[str, Any]:
    return {"name": name, "command": sys.executable, "args": [PROGRAM, "stdio"], **more}


def address(port: int, name: str = "home") -> dict[str, Any]:
    return {
        "name": name,
        "url": f"http://127.0.0.1:{port}/mcp",
        "headers": {"Authorization": "Bearer sk-123"},
    }


@contextmanager
def serving(port: int, kind: str = "") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, PROGRAM, f"{kind}{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def connected(*servers: dict[str, Any], wait: bool = True, **more: Any) -> AsyncIterator[ServerToolbox]:
    settings = ToolsSettings.model_validate({"mcp": servers, **more})
    async with toolbox_of(settings).running() as box:
        if wait:
            await until_state(box, "ready")
        yield box


async def until_state(box: ServerToolbox, state: str) -> None:
    async with asyncio.timeout(20):
        while any(server["state"] != state for server in box.report["mcp"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def refusal(call: Awaitable[str]) -> str:
    with pytest.raises(ToolError) as caught:
        await call
    return str(caught.value)


async def works(box: ServerToolbox) -> None:
    """What every server of these does."""
    names = [tool.name for tool in box.tools]
    assert names[:3] == ["add", "greet", "home_light_state"]
    add = box.tools[0]
    assert add.description == "Adds two numbers."
    assert set(json.loads(add.parameters)["properties"]) == {"first", "second"}
    assert await box.call("add", SUM) == "3"
    assert json.loads(await box.call("home_light_state", '{"room": "hall"}')) == {"room": "hall", "on": True}
    assert await box.call("picture", "{}") == "[image]"
    assert len(await box.call("much", "{}")) == 1_000_000
    assert "Error executing tool fail" in await refusal(box.call("fail", "{}"))
    assert "Error executing tool add" in await refusal(box.call("add", "{}"))
    # One that takes for ever is given up, and holds up no other.
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(asyncio.wait_for(box.call("wait", "{}"), 10))
        assert await box.call("add", SUM) == "3"
        waiting.cancel()
    assert await box.call("learn", "{}") == "learned"
    async with asyncio.timeout(10):
        while "subtract" not in {tool.name for tool in box.tools}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await box.call("subtract", SUM) == "-1"


def test_a_program_lends_its_tools_and_ends_with_the_server() -> None:
    async def main() -> int:
        async with connected(program(env={"GREETING": "Hi"})) as box:
            await works(box)
            assert await box.call("greet", '{"name": "Jo"}') == "Hi, Jo!"
            return int(await box.call("process_id", "{}"))

    pid = asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("kind", ["", "legacy:"])
def test_an_address_lends_its_tools(kind: str) -> None:
    async def main() -> None:
        port = free_tcp_port()
        with serving(port, kind):
            async with connected(address(port)) as box:
                await works(box)

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_program_that_dies_is_started_again(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with connected(program()) as box:
            first = await box.call("process_id", "{}")
            assert await refusal(box.call("die", "{}")) == (
                "The tool server home broke off: whether it did what it was asked to is not known."
            )
            second = await box.call("process_id", "{}")
            assert second != first
            os.kill(int(second), signal.SIGKILL)  # in the quiet
            await until_state(box, "lost")
            assert box.tools[0].name == "add"
            third = await box.call("process_id", "{}")
            assert third not in (first, second)

    run(main(), loop)
    reasons = [
        record.__dict__["reason"] for record in caplog.records if record.message == "a tool server is lost"
    ]
    assert reasons[0] == "dying as asked"


@pytest.mark.parametrize("kind", ["", "legacy:"])
def test_an_address_that_goes_is_found_again(kind: str) -> None:
    async def main() -> None:
        port = free_tcp_port()
        async with connected(address(port), wait=False) as box:
            await until_state(box, "lost")
            assert box.tools == ()
            with serving(port, kind):
                await until_state(box, "ready")
                assert await box.call("add", SUM) == "3"
            answer = await refusal(box.call("add", SUM))
            assert answer.startswith("The tool server home ")
            assert await refusal(box.call("add", SUM)) == "The tool server home cannot be reached just now."
            with serving(port, kind):
                await until_state(box, "ready")
                assert await box.call("add", SUM) == "3"

    asyncio.run(main())


def test_an_address_that_was_started_anew_is_asked_again() -> None:
    """It knows nothing of the session, and has done nothing yet."""

    async def main() -> None:
        port = free_tcp_port()
        with serving(port, "legacy:") as first:
            async with connected(address(port)) as box:
                assert await box.call("add", SUM) == "3"
                first.kill()
                first.wait()
                with serving(port, "legacy:"):
                    await until_listening(port)
                    assert box.report["mcp"][0]["state"] == "ready", "nobody has told it"
                    assert await box.call("add", SUM) == "3"

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_absent_is_told_and_holds_up_nothing(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_tools, "_delay_s", lambda short_lives: 60.0)  # none is starting again at the end
    broken = tmp_path / "broken.py"
    broken.write_text("import sys\nprint('no licence', file=sys.stderr)\nsys.exit(1)\n")

    async def main() -> None:
        servers = (
            {"name": "nowhere", "command": "no-such-program"},
            {"name": "broken", "command": sys.executable, "args": [str(broken)]},
            {"name": "babbler", "command": "yes"},
            {"name": "breathless", "command": "cat", "args": ["/dev/zero"]},
            {"name": "deaf", "url": f"http://127.0.0.1:{free_tcp_port()}/mcp"},
        )
        async with connected(*servers, wait=False) as box:
            await until_state(box, "lost")
            assert [(server["name"], server["reason"]) for server in box.report["mcp"]] == [
                ("nowhere", "there is no program no-such-program"),
                ("broken", "no licence"),
                ("babbler", "it writes to its standard output what is no message"),
                ("breathless", "it writes to its standard output what is no message"),
                ("deaf", "ConnectError: All connection attempts failed"),
            ]
            assert await refusal(box.call("add", SUM)) == "There is no tool add."

    run(main(), loop)


def test_a_program_that_never_answers_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it is left amid the time that it is given for ending by itself."""
    monkeypatch.setattr(mcp_tools, "_HANDSHAKE_LIMIT_S", 0.2)

    async def main() -> None:
        sleeper = {"name": "sleeper", "command": "sleep", "args": ["60"]}
        async with connected(sleeper, wait=False) as box:
            await until_state(box, "lost")
            assert box.report["mcp"][0]["reason"] == "it did not answer in time"
            await asyncio.sleep(0.4)

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("then", ["", "yes", "yes >&2"])
def test_a_program_is_ended_even_where_that_is_cancelled(then: str, loop: Loop) -> None:
    """One that heeds neither the end of its input nor a request, and may write on without end."""
    message = '{"jsonrpc": "2.0", "method": "started", "params": {"pid": %d}}'
    script = f"trap '' TERM; printf '{message}\\n' $$; {then}\nwhile true; do sleep 0.1; done"

    async def main() -> int:
        pids: list[int] = []
        leaving = asyncio.Event()

        async def live() -> None:
            async with program_over_pipes("sh", ("-c", script), {}, lambda line: None, lambda: None) as pipes:
                started = await pipes[0].receive()
                assert isinstance(started, SessionMessage)
                pids.append(started.message.model_dump()["params"]["pid"])
                leaving.set()

        async with asyncio.timeout(20):
            async with asyncio.TaskGroup() as tasks:
                life = tasks.create_task(live())
                await leaving.wait()
                await asyncio.sleep(0.1)
                life.cancel()
        return pids[0]

    pid = run(main(), loop)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_names_that_several_have_begin_with_the_server() -> None:
    async def main() -> None:
        servers = (program("one"), program("two"))
        more: dict[str, Any] = {"python": ["tests.server.some_tools:much"]}
        async with connected(*servers, **more) as box:
            names = {tool.name for tool in box.tools}
            assert {"much", "one_much", "two_much", "one_add", "two_add"} < names
            assert "add" not in names
            first = await box.call("one_process_id", "{}")
            assert await box.call("two_process_id", "{}") != first

        async with connected(program("one"), offer=["home*", "greet"]) as box:
            assert [tool.name for tool in box.tools] == ["greet", "home_light_state"]

    asyncio.run(main())


def test_a_server_may_be_left_while_it_connects_and_while_it_works() -> None:
    async def main() -> None:
        async with connected(program(), program("other"), wait=False):
            pass
        async with asyncio.TaskGroup() as tasks:
            async with connected(program()) as box:
                waiting = tasks.create_task(refusal(box.call("wait", "{}")))
                await asyncio.sleep(0)
                assert await box.call("add", SUM) == "3"
        assert waiting.result().startswith("The tool server home ")

    asyncio.run(main())


def test_the_sdk_is_needed_only_for_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert toolbox_of(ToolsSettings()).tools == ()
    with pytest.raises(ConfigError, match=r"pip install 'voxtral-kokoro\[mcp\]'"):
        toolbox_of(ToolsSettings.model_validate({"mcp": [program()]}))

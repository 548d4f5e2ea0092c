"""Python functions as tools: what the LLM is told of them, and how they run."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from media.errors import ConfigError, ToolError
from server.docstring import parsed
from server.tool_settings import ToolsSettings
from server.toolbox import ServerToolbox, toolbox_of
from tests.server import some_tools


def toolbox(*names: str, **settings: Any) -> ServerToolbox:
    python = [name if ":" in name else f"tests.server.some_tools:{name}" for name in names]
    return toolbox_of(ToolsSettings.model_validate({"python": python, **settings}))


def called(box: ServerToolbox, name: str, /, **arguments: Any) -> str:
    return asyncio.run(box.call(name, json.dumps(arguments)))


def refused(box: ServerToolbox, name: str, arguments: str = "{}") -> str:
    with pytest.raises(ToolError) as caught:
        asyncio.run(box.call(name, arguments))
    return str(caught.value)


def test_signature_hints_and_docstring_make_the_schema() -> None:
    (tool,) = toolbox("forecast").tools
    assert (tool.name, tool.description) == (
        "forecast",
        "Says what the weather will be.\n\nUse it for days to come\nalone.\n\nReturns: The forecast.",
    )
    assert json.loads(tool.parameters) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["place", "day"],
        "properties": {
            "place": {"$ref": "#/$defs/Place", "description": "where, as exactly as it is known"},
            "day": {"type": "string", "format": "date", "description": "which day"},
            "unit": {
                "$ref": "#/$defs/Unit",
                "description": "of the temperature: degrees",
                "default": "celsius",
            },
            "detail": {
                "type": "string",
                "enum": ["short", "long"],
                "default": "short",
                "description": "How much is told.",
            },
        },
        "$defs": {
            "Place": {
                "type": "object",
                "description": "Where something is.",
                "required": ["city"],
                "properties": {
                    "city": {"type": "string"},
                    "country": {"type": "string", "default": "de"},
                },
            },
            "Unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
    }


def test_a_parameter_may_be_called_anything() -> None:
    (tool,) = toolbox("awkward").tools
    properties = json.loads(tool.parameters)["properties"]
    assert properties == {
        "schema": {"type": "string"},
        "copy": {"type": "integer", "default": 1},
        "title": {"type": "string", "default": "none", "description": "of honour"},
    }
    assert called(toolbox("awkward"), "awkward", schema="a", title="b") == "a 1 b"


def test_functions_of_all_kinds_are_called() -> None:
    box = toolbox("forecast", "double", "nothing", "positional", "count", "count.reset", "decorated")
    given = {"place": {"city": "Bonn"}, "day": "2026-11-26", "unit": "fahrenheit"}
    assert json.loads(called(box, "forecast", **given)) == {
        "place": {"city": "Bonn", "country": "de"},
        "day": "2026-11-26",
        "degrees": 68.9,
    }
    assert called(box, "double", number="21") == "42"
    assert called(box, "nothing") == "Done."
    assert called(toolbox("triple"), "triple", number=4) == "12"
    assert called(box, "positional", first="a") == "a b c"
    assert called(box, "positional", first="a", second="x", third="y") == "a x y"
    assert called(box, "count", by=3) == "3"
    assert called(box, "reset") == "reset"
    assert called(box, "decorated", word="Hey") == "Hey!"
    assert asyncio.run(box.call("nothing", "")) == "Done."
    assert asyncio.run(box.call("nothing", "null")) == "Done."


def test_arguments_that_do_not_fit_are_told_to_the_llm() -> None:
    box = toolbox("double", "forecast")
    assert refused(box, "double") == "number is missing."
    assert refused(box, "double", '{"number": "many", "base": 2}') == (
        "number: Input should be a valid integer, unable to parse string as an integer. "
        "There is no parameter base."
    )
    assert refused(box, "forecast", '{"place": {}, "day": "2026-11-26"}') == "place.city is missing."
    assert refused(box, "double", '{"number": ').startswith("The arguments are not JSON: ")
    assert refused(box, "double", "[1]") == "The arguments are not a JSON object."
    assert refused(box, "halve") == "There is no tool halve."


def test_a_function_that_fails_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    box = toolbox("bad", "leave")
    assert refused(box, "bad", '{"kind": "told"}') == "There is no such room."
    assert not caplog.records
    assert refused(box, "bad", '{"kind": "odd"}') == "bad failed: RuntimeError: the boiler is cold"
    assert refused(box, "bad", '{"kind": "time"}') == "bad failed: TimeoutError: the boiler was slow"
    assert refused(box, "bad", '{"kind": "stop"}').startswith("bad failed: ")
    assert refused(box, "bad", '{"kind": "leave"}') == "bad failed: SystemExit: no boiler"
    assert refused(box, "leave") == "leave failed: SystemExit: no boiler"
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "a tool raised"
    ] * 5


def test_functions_that_block_hold_up_nobody() -> None:
    async def main() -> None:
        box = toolbox("block", "where", "double")
        some_tools.release.clear()
        some_tools.mood.set("calm")
        async with asyncio.TaskGroup() as tasks:
            blocked = [tasks.create_task(box.call("block", "")) for _ in range(5)]
            # On a thread of its own, within the caller's context.
            assert await box.call("where", "") == "tool where, calm"
            assert await box.call("double", '{"number": 2}') == "4"
            some_tools.release.set()
        assert [task.result() for task in blocked] == ["let go"] * 5

    asyncio.run(main())


def test_who_is_cancelled_leaves_at_once() -> None:
    async def main() -> None:
        box = toolbox("block", "hang")
        some_tools.release.clear()
        for name in ("block", "hang"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(box.call(name, ""), 0.05)
        some_tools.release.set()

    asyncio.run(main())


def test_not_too_many_block_at_once() -> None:
    """Functions that never come back take no more threads than there are for them."""

    async def main() -> None:
        box = toolbox("block", "double")
        some_tools.release.clear()
        try:
            for _ in range(40):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(box.call("block", ""), 0.01)
            assert sum(thread.name == "tool block" for thread in threading.enumerate()) == 32
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(box.call("double", '{"number": 1}'), 0.05)
        finally:
            some_tools.release.set()
        # Their threads are given back when they do.
        assert await box.call("double", '{"number": 1}') == "2"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("untold", "it has no docstring: the LLM would not know when to call it."),
        ("untyped", "its parameter number has no type hint."),
        ("any_number", "it takes *numbers, and each parameter needs a name of its own."),
        ("strange", "its types cannot be described: "),
        ("unknown", "its type hints cannot be read: name 'NoSuchType' is not defined."),
        ("several", "it is a generator, and a tool returns one result."),
        ("several_later", "it is a generator, and a tool returns one result."),
        ("VALUE", "it is no function."),
        ("nameless", "it has no docstring: "),
        ("absent", "tests.server.some_tools has no absent."),
        (
            "no_such_module:f",
            "no_such_module cannot be imported: ModuleNotFoundError: No module named ",
        ),
    ],
)
def test_what_is_no_tool_has_its_sentence(reference: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        toolbox(reference)
    reference = reference if ":" in reference else f"tests.server.some_tools:{reference}"
    assert str(caught.value).startswith(f"tools.python: {reference}: {sentence}")


def test_all_mistakes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "broken_tools_module.py").write_text("def half(:\n")
    (tmp_path / "leaving_tools_module.py").write_text("import sys\nsys.exit('no boiler')\n")
    references = ("broken_tools_module:half", "double", "double", "untold", "leaving_tools_module:leave")
    with pytest.raises(ConfigError) as caught:
        toolbox(*references, directory=tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "leaving_tools_module cannot be imported: SystemExit: no boiler" in lines[3]
    assert "broken_tools_module cannot be imported: SyntaxError: " in lines[0]
    assert lines[1].endswith("there are two functions called double.")


def test_functions_may_lie_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_tools_module.py").write_text(
        'def hello(name: str) -> str:\n    """Greets."""\n    return f"Hello {name}"\n'
    )
    assert called(toolbox("own_tools_module:hello", directory=tmp_path), "hello", name="Jo") == "Hello Jo"
    with pytest.raises(ConfigError, match=r"tools\.directory: there is no folder"):
        toolbox(directory=tmp_path / "absent")


def test_which_tools_are_offered() -> None:
    assert [tool.name for tool in toolbox("double", "block", "where").tools] == ["double", "block", "where"]
    some = toolbox("double", "block", "where", offer=["w*", "double"])
    assert [tool.name for tool in some.tools] == ["double", "where"]
    assert refused(some, "block") == "There is no tool block."
    assert toolbox("double", offer=[]).tools == ()


LONG = """Does.

    More.

    Args:
        a: one
        b (int): two:
            three

        c:
            four
    Raises:
        d: five
"""


@pytest.mark.parametrize(
    ("docstring", "text", "parameters"),
    [
        ("One line.", "One line.", {}),
        (LONG, "Does.\n\nMore.", {"a": "one", "b": "two: three", "c": "four"}),
        ("Does.\n\n    Args:\n        nothing said here\n        **more: x", "Does.", {"more": "x"}),
        ("Args:\n    a: one\nReturns:\n    Two\n    words.", "Returns: Two words.", {"a": "one"}),
    ],
)
def test_docstrings_are_taken_apart(docstring: str, text: str, parameters: dict[str, str]) -> None:
    taken = parsed(docstring)
    assert (taken.text, taken.parameters) == (text, parameters)

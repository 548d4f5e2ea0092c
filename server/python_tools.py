"""Tools that are Python functions: `tools.python: ["package.module:function"]`.

A function's signature, type hints and docstring are what the LLM is told of it. Coroutine functions run on
the event loop; others on threads of their own, so that they may block.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import inspect
import json
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_type_hints

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from media.errors import ConfigError, ToolError
from media.tools import Tool
from server.docstring import parsed
from server.tool_settings import ToolsSettings

_THREADS_LIMIT = 32
"""Functions that block, at once. Whoever comes then waits, within the tool's time."""

_CANNOT_BE_NAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class PythonTool:
    """One function.

    Args:
        name: as the LLM knows it.
        function: called with validated arguments.
        threads: limits how many functions may block at once.

    Raises:
        ConfigError: it cannot be told to an LLM: a parameter without a type, no docstring.
    """

    def __init__(self, name: str, function: Callable[..., Any], threads: asyncio.Semaphore) -> None:
        self._function = function
        self._threads = threads
        self._is_coroutine = inspect.iscoroutinefunction(_routine_of(function))
        docstring = _docstring_of(function)
        if not docstring:
            raise ConfigError("it has no docstring: the LLM would not know when to call it")
        said = parsed(docstring)
        self._parameters = _parameters_of(function)
        self._arguments = _model_of(name, function, self._parameters, said.parameters)
        self.tool = Tool(name, said.text, json.dumps(_untitled(self._arguments.model_json_schema())))

    async def call(self, arguments: dict[str, Any]) -> Any:
        """Calls the function; gives what it returns.

        A cancelled caller is let go at once. A coroutine is cancelled with it; a function on a thread goes on
        to its end, and its result is dropped.

        Raises:
            ToolError: the arguments do not fit.
            Exception: whatever the function raises.
        """
        try:
            values = self._arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolError(_misfit(error)) from error
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for field, parameter in self._parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(getattr(values, field))
            elif field in values.model_fields_set:
                named[parameter.name] = getattr(values, field)
        if self._is_coroutine:
            return await self._function(*positional, **named)
        result = await self._on_a_thread(lambda: self._function(*positional, **named))
        # A decorator may hide that it is a coroutine function.
        return await result if inspect.isawaitable(result) else result

    async def _on_a_thread(self, work: Callable[[], Any]) -> Any:
        """On a thread that does not hold up the process's end, however long the work takes."""
        await self._threads.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: Any, failure: BaseException | None) -> None:
            self._threads.release()
            if not outcome.done():
                outcome.set_result((result, failure))

        def run() -> None:
            result, failure = None, None
            try:
                result = context.run(work)
            except BaseException as error:  # noqa: BLE001 - whatever it is: who waits must hear of it
                failure = error
            with suppress(RuntimeError):  # the loop has closed, and who waited with it
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=run, name=f"tool {self.tool.name}", daemon=True).start()
        result, failure = await outcome
        if failure is not None:
            raise failure
        return result


def load(settings: ToolsSettings) -> tuple[PythonTool, ...]:
    """Imports the configured functions.

    Raises:
        ConfigError: one cannot be imported, or not be told to an LLM; one sentence for each.
    """
    directory = settings.directory
    if directory is not None and str(directory) not in sys.path:
        if not directory.is_dir():
            raise ConfigError(f"tools.directory: there is no folder {directory}.", param="tools.directory")
        sys.path.append(str(directory))
    threads = asyncio.Semaphore(_THREADS_LIMIT)
    tools: dict[str, PythonTool] = {}
    faults: list[str] = []
    for reference in settings.python:
        name = reference.replace(":", ".").rpartition(".")[2]
        try:
            if name in tools:
                raise ConfigError(f"there are two functions called {name}")
            tools[name] = PythonTool(name, _imported(reference), threads)
        except ConfigError as error:
            faults.append(f"tools.python: {reference}: {error}.")
    if faults:
        raise ConfigError("\n".join(faults), param="tools.python")
    return tuple(tools.values())


def text_of(result: Any) -> str:
    """What a function returned, for the LLM: text as it is, nothing as `Done.`, else JSON."""
    if isinstance(result, str):
        return result
    if result is None:
        return "Done."
    return pydantic_core.to_json(result, fallback=str, bytes_mode="base64").decode()


def _imported(reference: str) -> Callable[..., Any]:
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # somebody else's module: whatever it raises is told
        raise ConfigError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ConfigError(f"{module_name} has no {path}")
    if not callable(found):
        raise ConfigError("it is no function")
    function: Callable[..., Any] = found
    return function


def _routine_of(function: Any) -> Any:
    """What has the hints: a function itself, an object's `__call__`, what a partial calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) or inspect.isclass(function) else function.__call__


def _docstring_of(function: Any) -> str | None:
    """A function's, or that of an object's `__call__`, or the object's own."""
    routine = _routine_of(function)
    is_object = not isinstance(function, functools.partial)
    return inspect.getdoc(routine) or (inspect.getdoc(function) if is_object else None)


def _parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A function's parameters, under names of ours: one may be called as a method of a model is."""
    routine = _routine_of(function)
    if inspect.isasyncgenfunction(routine) or inspect.isgeneratorfunction(routine):
        raise ConfigError("it is a generator, and a tool returns one result")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"its signature cannot be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind in _CANNOT_BE_NAMED:
            raise ConfigError(f"it takes *{parameter.name}, and each parameter needs a name of its own")
    return {f"parameter_{index}": parameter for index, parameter in enumerate(signature.parameters.values())}


def _model_of(
    name: str,
    function: Callable[..., Any],
    parameters: dict[str, inspect.Parameter],
    said: dict[str, str],
) -> type[BaseModel]:
    """What a function takes, as a model: it makes the schema, and validates."""
    try:
        hints = get_type_hints(inspect.unwrap(_routine_of(function)), include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ConfigError(f"its type hints cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for field, parameter in parameters.items():
        if parameter.name not in hints:
            raise ConfigError(f"its parameter {parameter.name} has no type hint")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        more: dict[str, Any] = {"description": said[parameter.name]} if said.get(parameter.name) else {}
        fields[field] = (hints[parameter.name], Field(default, alias=parameter.name, **more))
    try:
        # An argument that the function does not have is a mistake that the LLM should hear of.
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except PydanticUserError as error:
        raise ConfigError(f"its types cannot be described: {error.message.splitlines()[0]}") from error
    return model


def _untitled(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names: the LLM reads enough."""
    if isinstance(schema, list):
        return [_untitled(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return {
        # The keys of these are names, `title` among them.
        key: {name: _untitled(inner) for name, inner in value.items()}
        if key in ("properties", "$defs")
        else _untitled(value)
        for key, value in kept.items()
    }


def _misfit(error: ValidationError) -> str:
    """What is wrong with the arguments, for the LLM, which can try again."""
    sentences = []
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in detail["loc"])
        match detail["type"]:
            case "missing":
                sentences.append(f"{path} is missing.")
            case "extra_forbidden":
                sentences.append(f"There is no parameter {path}.")
            case _:
                sentences.append(f"{path}: {detail['msg']}.")
    return " ".join(sentences)

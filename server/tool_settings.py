"""The section `tools`: what the LLM may call in this server."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator
from yarl import URL

from media.section import Section
from media.tool_runs import ToolSettings
from server.settings import UserPath

Reference = Annotated[
    str, StringConstraints(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$")
]
"""`package.module:function`."""


class McpServerSettings(Section):
    """One server of the Model Context Protocol: a program that is started here, or an address.

    Attributes:
        name: begins the names of its tools where they would be another's, too.
        command: a program that speaks the protocol over its standard input and output.
        args: the program's arguments.
        env: its environment, besides PATH, HOME and the like.
        url: of a server that is reached over HTTP ("streamable HTTP").
        headers: sent with each request, as `Authorization`.
    """

    name: str = Field(pattern="^[A-Za-z0-9_-]{1,32}$")
    command: str | None = Field(default=None, min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = Field(default_factory=dict)
    url: str | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("a server has either a command or a url")
        if self.url is not None:
            url = URL(self.url)
            if url.scheme not in ("http", "https") or not url.host:
                raise ValueError("url is written as https://tools.example.org/mcp")
            if url.user is not None or url.password is not None:
                raise ValueError("a key or a password belongs into headers, not into url")
            if self.args or self.env:
                raise ValueError("args and env belong to a command, not to a url")
        elif self.headers:
            raise ValueError("headers belong to a url, not to a command")
        return self


class ToolsSettings(ToolSettings):
    """Section `tools`: functions that the LLM may call, and which calls are offered which.

    How they are run: `ToolSettings`.

    Attributes:
        directory: a folder of Python modules, besides those that are installed.
        python: functions, as `package.module:function`.
        mcp: servers whose tools are offered, too.
        offer: names of the tools that calls are offered; `*` stands for any characters.
    """

    directory: UserPath | None = None
    python: tuple[Reference, ...] = ()
    mcp: tuple[McpServerSettings, ...] = ()
    offer: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        names = [server.name for server in self.mcp]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two servers in mcp are called {twice}")
        return self

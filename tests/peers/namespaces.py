"""Networks that the kernel makes: a server's, a router that translates addresses, and the world outside.

    caller 203.0.113.50 ── 203.0.113.1, .10 router 10.77.0.1 ── 10.77.0.2 server

Callers know the server as 203.0.113.10. Of UDP the router lets through what the test opens, and answers to
that. It passes on nothing that the server begins: a hole that it punched itself would hide what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

SERVER = "10.77.0.2"
PUBLIC = "203.0.113.10"
ROUTER = "203.0.113.1"
"""Where it stands in the world outside, beside the address that leads to the server."""
SIGNALLING_PORT = 8000

Translation = Literal["one to one", "published ports"]
"""As a cloud gives a machine an address, or as Docker does with `-p`."""

_KERNEL_REFUSALS = ("not permitted", "not supported", "Permission denied", "Unknown device type")
_COMMAND_LIMIT_S = 20


def refusal() -> str | None:
    """Why there can be no such networks here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces are made by root on Linux"
    if missing := [tool for tool in ("ip", "nft") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    try:
        with namespace("trial") as name:
            _ip("-n", name, "link", "add", "near", "type", "veth", "peer", "name", "far")
            _nft(name, "table ip trial { chain trial { type nat hook prerouting priority dstnat; }; }")
    except subprocess.CalledProcessError as error:
        complaint = str(error.stderr).strip()
        if not any(refused in complaint for refused in _KERNEL_REFUSALS):
            raise
        return f"the kernel refuses: {complaint}"
    return None


@dataclass(frozen=True, slots=True)
class Networks:
    """The three, by the names of their namespaces."""

    server: str
    router: str
    caller: str

    def translate(self, how: Translation, udp_ports: str) -> None:
        """Sets the router's rules anew.

        Args:
            how: which of the server's ports the public address leads to.
            udp_ports: that may pass: a port, or a range as `40000-40100`.
        """
        published = {
            "one to one": [f"ip daddr {PUBLIC} dnat to {SERVER}"],
            "published ports": [
                f"ip daddr {PUBLIC} tcp dport {SIGNALLING_PORT} dnat to {SERVER}",
                f"ip daddr {PUBLIC} udp dport {udp_ports} dnat to {SERVER}",
            ],
        }[how]
        outwards = {
            "one to one": f"ip saddr {SERVER} snat to {PUBLIC}",
            "published ports": f"ip saddr {SERVER} masquerade",
        }[how]
        _nft(
            self.router,
            f"""
            flush ruleset
            table ip nat {{
                chain inwards {{
                    type nat hook prerouting priority dstnat;
                    {chr(10).join(published)}
                }}
                chain outwards {{
                    type nat hook postrouting priority srcnat;
                    {outwards}
                }}
            }}
            table ip firewall {{
                chain arriving {{
                    type filter hook prerouting priority raw;
                    iifname "to_caller" ip daddr {SERVER} drop
                }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    tcp dport {SIGNALLING_PORT} accept
                    tcp sport {SIGNALLING_PORT} accept
                    udp dport {udp_ports} accept
                    udp sport {udp_ports} ct state established accept
                }}
            }}
            """,
        )


@contextmanager
def networks() -> Iterator[Networks]:
    """The three, connected. They are gone when the block ends."""
    with ExitStack() as stack:
        server, router, caller = (
            stack.enter_context(namespace(purpose)) for purpose in ("server", "router", "caller")
        )
        for name, link in ((server, "to_server"), (caller, "to_caller")):
            _ip("-n", router, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _address(server, "eth0", f"{SERVER}/24")
        _address(router, "to_server", "10.77.0.1/24")
        _address(router, "to_caller", f"{ROUTER}/24", f"{PUBLIC}/24")
        _address(caller, "eth0", "203.0.113.50/24")
        _ip("-n", server, "route", "add", "default", "via", "10.77.0.1")
        _ip("-n", caller, "route", "add", "default", "via", ROUTER)
        _run(*inside(router), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield Networks(server, router, caller)


def inside(name: str) -> tuple[str, ...]:
    """The beginning of a command that runs the rest of it inside a namespace."""
    return ("ip", "netns", "exec", name)


@contextmanager
def namespace(purpose: str) -> Iterator[str]:
    """A network namespace with a loopback of its own. Gives its name."""
    name = f"vk-{os.getpid()}-{purpose}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _ip("netns", "del", name)


def _address(name: str, interface: str, *addresses: str) -> None:
    for address in addresses:
        _ip("-n", name, "address", "add", address, "dev", interface)
    _ip("-n", name, "link", "set", interface, "up")


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _nft(name: str, rules: str) -> None:
    _run(*inside(name), "nft", "-f", "-", text=rules)


def _run(*command: str, text: str = "") -> None:
    """Raises: subprocess.CalledProcessError, with what the command said."""
    subprocess.run(command, input=text, text=True, capture_output=True, check=True, timeout=_COMMAND_LIMIT_S)

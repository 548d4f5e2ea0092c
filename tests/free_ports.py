"""Ports that a test may configure."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack


def free_ports(count: int) -> range:
    """Neighbouring UDP ports that nobody has now. Not held yet: each process looks elsewhere first."""
    places = range(42_000, 60_000, 97)
    begin = os.getpid() % len(places)
    for first in (*places[begin:], *places[:begin]):
        ports = range(first, first + count)
        with ExitStack() as bound:
            try:
                for port in ports:
                    sock = bound.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sock.bind(("0.0.0.0", port))
            except OSError:
                continue
            return ports
    raise AssertionError("no free ports")


def free_tcp_port() -> int:
    """A TCP port on loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

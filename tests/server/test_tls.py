"""HTTPS: a real handshake with the server's own certificate."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from media.errors import ConfigError
from server.app import listening
from server.machine_names import machine_names
from server.settings import ServerSettings
from server.tls import own_certificate, tls_context


def test_plain_http_needs_no_context() -> None:
    assert tls_context(ServerSettings()) is None


def test_a_browser_that_trusts_the_certificate_gets_an_answer(tmp_path: Path) -> None:
    """Strictly checked: the chain, and the address that was called."""
    settings = ServerSettings(tls_self_signed=True, state_directory=tmp_path)

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def main() -> None:
        app = web.Application()
        app.add_routes([web.get("/", hello)])
        context = tls_context(settings)
        trusting = ssl.create_default_context(cafile=str(own_certificate(tmp_path)[0]))
        async with listening(app, "127.0.0.1", 0, setting="server.port", tls=context) as port:
            async with aiohttp.ClientSession() as client:
                for name in ("127.0.0.1", "localhost"):
                    async with client.get(f"https://{name}:{port}/", ssl=trusting) as response:
                        assert await response.text() == "hello"
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await client.get(f"https://127.0.0.1:{port}/")

    asyncio.run(main())


def test_the_certificate_names_this_machine_and_only_we_can_read_its_key(tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path / "state")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    held = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", *machine_names()} <= set(names.get_values_for_type(x509.DNSName))
    assert "127.0.0.1" in {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    first = own_certificate(tmp_path)[0].read_bytes()
    assert own_certificate(tmp_path)[0].read_bytes() == first


@pytest.mark.parametrize("damage", ["certificate", "key"])
def test_what_is_gone_or_damaged_is_made_anew(tmp_path: Path, damage: str) -> None:
    certificate, key = own_certificate(tmp_path)
    if damage == "key":
        key.unlink()
    else:
        certificate.write_text("not a certificate")
    settings = ServerSettings(tls_self_signed=True, state_directory=tmp_path)
    assert tls_context(settings) is not None


def test_a_key_without_its_certificate_is_made_anew(tmp_path: Path) -> None:
    """The process was killed between the two writes."""
    own_certificate(tmp_path / "other")
    key = own_certificate(tmp_path)[1]
    key.write_bytes((tmp_path / "other" / key.name).read_bytes())
    settings = ServerSettings(tls_self_signed=True, state_directory=tmp_path)
    assert tls_context(settings) is not None


def test_a_certificate_of_the_operator(tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path)
    assert tls_context(ServerSettings(tls_certificate=certificate, tls_key=key)) is not None


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    absent = ServerSettings(tls_certificate=tmp_path / "a.pem", tls_key=tmp_path / "b.pem")
    with pytest.raises(ConfigError, match=r"a\.pem with the key .*b\.pem cannot be used: No such file"):
        tls_context(absent)


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Set server\.state_directory"):
        own_certificate(tmp_path / "file" / "state")

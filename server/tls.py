"""HTTPS, with the operator's certificate or one of our own: phones give a microphone to nothing else."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from media.clock import wall_time_s
from media.errors import ConfigError
from server.machine_names import machine_names
from server.settings import ServerSettings

_VALID_FOR = timedelta(days=397)
"""What browsers take at most from a certificate that they are asked to trust."""

_RENEW_BEFORE = timedelta(days=30)


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """What the page's port speaks; None for plain HTTP.

    Raises:
        ConfigError: the certificate or its key cannot be used, or cannot be written.
    """
    if settings.tls_certificate is not None and settings.tls_key is not None:
        certificate, key = settings.tls_certificate, settings.tls_key
    elif settings.tls_self_signed:
        certificate, key = own_certificate(settings.state_directory)
    else:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.__class__.__name__
        raise ConfigError(
            f"The certificate {certificate} with the key {key} cannot be used: {reason}.",
            param="server.tls_certificate",
        ) from error
    return context


def own_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for this machine's names and addresses, made once and kept until it runs out.

    It is made anew when the machine has an address that it does not name, and when the key is another one's:
    the two are not written in one step.

    Returns:
        certificate and key; the key is readable by the owner only.

    Raises:
        ConfigError: the directory cannot be written.
    """
    certificate, key = directory / "self-signed.pem", directory / "self-signed-key.pem"
    names = _names()
    if _still_good(certificate, key, names):
        return certificate, key
    private_key = ec.generate_private_key(ec.SECP256R1())
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(key, _pem(private_key))
        certificate.write_bytes(_signed(private_key, names).public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        raise ConfigError(
            f"No certificate can be kept in {directory}: {error.strerror}. Set server.state_directory.",
            param="server.state_directory",
        ) from error
    return certificate, key


def _names() -> list[x509.GeneralName]:
    """What callers may type: localhost, the machine's names, and every address of its interfaces."""
    hosts = ("localhost", *machine_names())
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    for interface in psutil.net_if_addrs().values():
        for entry in interface:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                addresses.add(ipaddress.ip_address(entry.address.split("%")[0]))
    ordered = sorted(addresses, key=lambda address: (address.version, int(address)))
    return [*(x509.DNSName(host) for host in hosts if host.isascii()), *map(x509.IPAddress, ordered)]


def _now() -> datetime:
    return datetime.fromtimestamp(wall_time_s(), UTC)


def _still_good(certificate_path: Path, key_path: Path, names: list[x509.GeneralName]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    if key.public_key() != certificate.public_key():
        return False
    return set(names) <= set(held) and certificate.not_valid_after_utc - _RENEW_BEFORE > _now()


def _signed(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Voxtral-Kokoro")])
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    """Readable by the owner from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)

"""What SIP over TLS shows, and whom it trusts."""

from __future__ import annotations

import ssl

from media.errors import ConfigError
from signaling.sip.settings import SipTransportSettings


def server_context(settings: SipTransportSettings) -> ssl.SSLContext | None:
    """For connections that come in; None where there is no TLS port. Reads files.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    if settings.tls_port is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, settings)
    if settings.tls_client_certificates:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, settings)
    return context


def client_context(settings: SipTransportSettings) -> ssl.SSLContext | None:
    """For connections that go out; None where there is no TLS port. Reads files.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    if settings.tls_port is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, settings)
    if settings.tls_verify:
        _trust(context, settings)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _show(context: ssl.SSLContext, settings: SipTransportSettings) -> None:
    assert settings.tls_certificate is not None, "settings with a TLS port have one"
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.__class__.__name__
        raise ConfigError(
            f"The certificate {settings.tls_certificate} with the key {settings.tls_key} cannot be used: "
            f"{reason}.",
            param="sip.tls_certificate",
        ) from error


def _trust(context: ssl.SSLContext, settings: SipTransportSettings) -> None:
    if settings.tls_ca is None:
        context.load_default_certs(
            ssl.Purpose.CLIENT_AUTH
            if context.protocol is ssl.PROTOCOL_TLS_SERVER
            else ssl.Purpose.SERVER_AUTH
        )
        return
    try:
        context.load_verify_locations(settings.tls_ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.__class__.__name__
        raise ConfigError(
            f"The certificates in {settings.tls_ca} cannot be used: {reason}.", param="sip.tls_ca"
        ) from error

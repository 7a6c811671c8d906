"""What is used of aiosmtplib beyond its documentation, and nothing else of it is: a new version must keep it."""

import asyncio
import ssl

import aiosmtplib
import pytest


@pytest.mark.smtpd(auth=("ada", "secret"), offer=("X-TEST one",))
async def test_the_live_transport_can_be_taken_over_and_the_client_ends_clean(smtpd):
    smtp = aiosmtplib.SMTP(hostname=smtpd.host, port=smtpd.port, start_tls=False, local_hostname="localhost")
    await smtp.connect(timeout=30)
    await smtp.ehlo(hostname="client.example.org", timeout=30)
    assert smtp.supports_extension("x-test")
    assert smtp.esmtp_extensions["x-test"] == "one"
    assert {"plain", "login", "cram-md5"} <= set(smtp.server_auth_methods)
    assert smtp.get_transport_info("sslcontext") is None
    assert smtp.get_transport_info("sockname")[0] == "127.0.0.1"
    transport, protocol = smtp.transport, smtp.protocol
    assert transport is not None
    assert protocol is not None
    assert transport.get_protocol() is protocol

    transport.set_protocol(asyncio.Protocol())
    protocol.connection_lost(None)
    assert not smtp.is_connected
    assert smtp.transport is None


@pytest.mark.smtpd(tls="starttls")
async def test_after_starttls_the_transport_is_the_encrypted_one(smtpd, server_context, ca_file):
    context = ssl.create_default_context(cafile=ca_file)
    smtp = aiosmtplib.SMTP(
        hostname=smtpd.host, port=smtpd.port, start_tls=False, local_hostname="localhost", tls_context=context
    )
    await smtp.connect(timeout=30)
    await smtp.ehlo(hostname="client.example.org", timeout=30)
    await smtp.starttls(timeout=30)
    assert smtp.transport is not None
    assert smtp.transport.get_extra_info("sslcontext") is context
    assert not smtp.esmtp_extensions
    await smtp.ehlo(hostname="client.example.org", timeout=30)
    await smtp.quit(timeout=30)


def test_the_errors_tell_apart_what_we_tell_apart():
    assert issubclass(aiosmtplib.SMTPServerDisconnected, ConnectionError)
    assert issubclass(aiosmtplib.SMTPTimeoutError, TimeoutError)
    assert issubclass(aiosmtplib.SMTPConnectResponseError, aiosmtplib.SMTPResponseException)
    assert issubclass(aiosmtplib.SMTPReadTimeoutError, aiosmtplib.SMTPTimeoutError)

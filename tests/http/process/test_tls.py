"""The server over TLS, attacked over sockets."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from hub.errors import BadConfig
from hub.http.process.tls import ServerTls
from tests.http.process.test_protocol import GET, WAIT_S, answer, rest, serve
from tests.support.certificates import Certificate, make_certificate
from tests.support.waiting import until

__all__ = ["serve"]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def tls(certificate: Certificate) -> ServerTls:
    return ServerTls(certificate.cert, certificate.key)


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE  # the server is the matter here
    return made


def secure(serving, sent: bytes = b"", **given) -> ssl.SSLSocket:
    plain = socket.create_connection(serving.address, timeout=WAIT_S)
    client = context().wrap_socket(plain, **given)
    client.sendall(sent)
    return client


def sent_certificate(serving) -> bytes:
    with secure(serving) as client:
        return client.getpeercert(binary_form=True)


def test_requests_are_answered_as_https(serve, tls) -> None:
    with serve(tls) as serving:
        client = HTTPSConnection(*serving.address, timeout=WAIT_S, context=context())
        with closing(client):
            for length in (0, 3, 100_000):
                client.request("POST", "/", b"x" * length)
                assert client.getresponse().read() == str(length).encode()
        assert {scope["scheme"] for scope in serving.app.seen} == {"https"}
        assert len({scope["client"] for scope in serving.app.seen}) == 1, "on one connection"


def test_a_large_answer_arrives_whole_and_the_connection_ends_in_order(serve, tls) -> None:
    with serve(tls) as serving, secure(serving) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert len(rest(client)) > 5_000_000  # `recv` would raise if the end were cut off


def test_what_is_not_tls_is_not_answered_and_the_next_client_is(serve, tls) -> None:
    with serve(tls) as serving:
        with serving.open(GET + b"\r\n") as plain:
            assert b"HTTP" not in rest_or_reset(plain)
        assert sent_certificate(serving)


def rest_or_reset(client: socket.socket) -> bytes:
    try:
        return rest(client)
    except ConnectionResetError:
        return b""


def test_old_versions_of_tls_are_refused(serve, tls) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with serve(tls) as serving, serving.open() as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_client_that_does_not_finish_its_handshake_is_disconnected(serve, tls) -> None:
    with serve(tls, header_s=0.2) as serving, serving.open(b"\x16\x03\x01") as silent:
        assert rest_or_reset(silent) == b""  # recv would time out


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"".join(b"x-%d: y\r\n" % number for number in range(200)),
        GET + b"x: " + b"y" * 100_000,
        b"NOT HTTP AT ALL\r\n\r\n",
    ],
)
def test_a_refusal_reaches_a_client_that_still_sends(serve, tls, sent) -> None:
    with serve(tls) as serving, secure(serving, sent) as client:
        got = rest(client)
    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert b"strict-transport-security: max-age=" in got and b"x-content-type-options: nosniff" in got
    assert serving.codes


def test_half_sent_headers_time_out(serve, tls) -> None:
    with (
        serve(tls, header_s=1.0) as serving,
        secure(serving, GET) as client,
    ):  # from the handshake on
        assert rest(client).startswith(b"HTTP/1.1 408")


def test_a_running_request_is_answered_when_the_server_stops(serve, tls) -> None:
    with serve(tls) as serving, secure(serving, b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n") as client:
        assert until(lambda: serving.app.held == 1, WAIT_S)
        serving.stop()
        assert until(lambda: serving.server._connections.stopping, WAIT_S)
        serving.release()
        assert rest(client).startswith(b"HTTP/1.1 200")


def test_a_renewed_certificate_is_used_for_new_connections(serve, tls, certificate, tmp_path) -> None:
    renewed = make_certificate(tmp_path / "renewed")
    with serve(tls) as serving, secure(serving) as open_before:
        assert sent_certificate(serving) == certificate.der
        shutil.copy(renewed.cert, certificate.cert)
        shutil.copy(renewed.key, certificate.key)
        assert until(lambda: sent_certificate(serving) == renewed.der, WAIT_S)
        open_before.sendall(GET + b"\r\n")
        assert answer(open_before).startswith(b"HTTP/1.1 200")


def test_a_renewed_certificate_that_does_not_fit_its_key_is_left_out(
    serve, tls, certificate, tmp_path, caplog
) -> None:
    with serve(tls) as serving, caplog.at_level(logging.ERROR):
        shutil.copy(make_certificate(tmp_path / "other").cert, certificate.cert)
        assert until(lambda: "former certificate stays" in caplog.text, WAIT_S)
        assert sent_certificate(serving) == certificate.der


def test_files_that_cannot_be_used_are_a_clear_error(tmp_path) -> None:
    good, other = make_certificate(tmp_path / "good"), make_certificate(tmp_path / "other")
    hidden = make_certificate(tmp_path / "hidden", password=b"secret")
    text = tmp_path / "text"
    text.write_text("no PEM")
    for cert, key in (
        (good.cert, other.key),
        (hidden.cert, hidden.key),
        (tmp_path / "none", good.key),
        (good.cert, tmp_path / "none"),
        (text, text),
        (tmp_path, tmp_path),
    ):
        with pytest.raises(BadConfig, match=r"serve\.tls_cert .* cannot be used: .*PEM"):
            ServerTls(cert, key)

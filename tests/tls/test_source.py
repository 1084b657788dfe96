"""The TLS source against real servers on sockets: every chain that they can serve, and every way of not serving one."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from flowrex_ops.health import judge_door
from flowrex_ops.model import Reading, TlsEndpoint, VerdictKind
from flowrex_ops.proxy.source import FrontDoorSource
from flowrex_ops.tls import source as tls
from flowrex_ops.tls.certificates import parse_chain
from flowrex_ops.tls.checks import check_expired, check_hostname_mismatch, check_unreachable
from flowrex_ops.tls.source import TlsSource
from flowrex_ops.tls.views import matches
from flowrex_sandbox.certificates import Authority, make_authority

SITE, OTHER = "flowrex.test", "ws.flowrex.test"
LIMIT_SECONDS = 2.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority with a good certificate for every site."""
    made = Authority(tmp_path / "tls")
    made.prepare(afresh=True)
    return made


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that gives every connection to *serve*; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            # Closing alone does not wake a thread that waits in accept().
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(authority: Authority, site: str = SITE) -> Iterator[int]:
    """A TLS server with the certificate that lies on disk for *site* at this moment."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = authority.fullchain(site)
    context.load_cert_chain(chain, chain.with_name("privkey.pem"))

    def serve(plain: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(1)

    with listening(serve) as port:
        yield port


def source(*endpoints: TlsEndpoint, ca_file: Path | None = None) -> TlsSource:
    return TlsSource(endpoints, limit_seconds=LIMIT_SECONDS, limit_rows=100, ca_file=ca_file)


def ask(port: int, authority: Authority, **facts: Any) -> Any:
    """The one row of one endpoint on this machine."""
    given: dict[str, Any] = {"server_name": SITE, "certificate": authority.fullchain(SITE), **facts}
    endpoint = TlsEndpoint("127.0.0.1", port, **given)
    return source(endpoint, ca_file=authority.anchor).get_certificates().require().iloc[0]


class TestServed:
    def test_sound_chain(self, authority: Authority) -> None:
        """Names (addresses too), dates, issuer and the intermediate; clients accept, and the file holds the same."""
        authority.issue(SITE, names=(SITE, "api.flowrex.test", "127.0.0.1"))
        with serving(authority) as port:
            row = ask(port, authority)
        leaf, above = row["chain"]
        assert (row["error"], row["verify_code"], row["trust_code"]) == (None, 0, 0)
        assert leaf.names == ("flowrex.test", "api.flowrex.test", "127.0.0.1")
        assert (leaf.subject, leaf.issuer, above.issuer) == (SITE, above.subject, "Flowrex Sandbox Root")
        assert (leaf.signed_by, above.signed_by) == (1, None)
        assert leaf.ca_issuers == ("http://pki.flowrex.test/intermediate.crt",)
        assert 89 < (leaf.not_after - leaf.not_before).days <= 90
        assert row["disk"][0].fingerprint == leaf.fingerprint
        assert row["protocol"] == "TLSv1.3"

    @pytest.mark.parametrize(
        ("fault", "verify", "trust"),
        [
            ({"days_left": -2}, {10}, {0}),
            ({"begins_in_days": 3}, {9}, {0}),
            ({"self_signed": True}, {18}, {18}),
            ({"with_intermediate": False}, {20, 21}, {20, 21}),
            ({"names": ("staging.test",)}, {0}, {0}),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_what_clients_say(
        self, authority: Authority, fault: dict[str, Any], verify: set[int], trust: set[int]
    ) -> None:
        """A date is told apart from a chain that is not trusted; a name is not judged here."""
        authority.issue(SITE, **fault)
        with serving(authority) as port:
            row = ask(port, authority)
        assert row["verify_code"] in verify
        assert row["trust_code"] in trust

    def test_an_address_among_the_dns_names_is_told_apart(self) -> None:
        """No client takes it for an address (RFC 9525, 6.5)."""
        now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        names = [x509.DNSName("192.0.2.7"), x509.DNSName(SITE), x509.IPAddress(ip_address("192.0.2.8"))]
        built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        made = built.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, SHA256())
        [read] = parse_chain([made.public_bytes(Encoding.DER)])
        assert read.names == ("DNS:192.0.2.7", SITE, "192.0.2.8")

    def test_expired_does_not_hide_an_unknown_authority(self, authority: Authority) -> None:
        authority.issue(SITE, days_left=-2, issuer=make_authority("Elsewhere")[1])
        with serving(authority) as port:
            row = ask(port, authority)
        assert row["trust_code"] == 20
        assert row["chain"][0].signed_by == 1

    def test_private_authority_that_nobody_named(self, authority: Authority) -> None:
        """Without ``ca_file`` only the system's anchors count."""
        with serving(authority) as port:
            found = source(TlsEndpoint("127.0.0.1", port, SITE)).get_certificates().require()
        assert found["trust_code"].iloc[0] == 20

    def test_anchors_that_cannot_be_read(self, authority: Authority, tmp_path: Path) -> None:
        """The chain is told all the same; whether it is trusted is unknown, not untrusted."""
        with serving(authority) as port:
            gone = source(TlsEndpoint("127.0.0.1", port, SITE), ca_file=tmp_path / "gone").get_certificates()
        row = gone.require().iloc[0]
        assert len(row["chain"]) == 2
        assert row["trust_code"] is None
        assert "tls.ca_file" in row["trust_text"]

    def test_name_decides_what_is_served(self, authority: Authority) -> None:
        """The server's name goes out with the handshake (SNI); without one the default answers."""
        contexts = {}
        for site in (SITE, OTHER):
            contexts[site] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            chain = authority.fullchain(site)
            contexts[site].load_cert_chain(chain, chain.with_name("privkey.pem"))

        def choose(connection: ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = contexts.get(name or SITE, contexts[SITE])

        contexts[SITE].sni_callback = choose

        def serve(plain: socket.socket) -> None:
            with suppress(OSError), contexts[SITE].wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

        with listening(serve) as port:
            endpoints = [TlsEndpoint("127.0.0.1", port, name) for name in (SITE, OTHER, None)]
            found = source(*endpoints, ca_file=authority.anchor).get_certificates().require()
        assert [chain[0].subject for chain in found["chain"]] == [SITE, OTHER, SITE]


class TestOnDisk:
    def test_newer_file(self, authority: Authority) -> None:
        with serving(authority) as port:
            authority.issue(SITE)
            row = ask(port, authority)
        assert row["disk"][0].fingerprint != row["chain"][0].fingerprint

    @pytest.mark.parametrize(
        ("content", "words"),
        [(None, "no such file"), ("nothing", "holds no certificate"), ("key", "holds no certificate")],
    )
    def test_file_that_is_no_certificate(
        self, authority: Authority, tmp_path: Path, content: str | None, words: str
    ) -> None:
        """Told beside what is served, which it does not hide."""
        file = tmp_path / "file.pem"
        if content is not None:
            key = authority.fullchain(SITE).with_name("privkey.pem").read_text()
            file.write_text(key if content == "key" else content)
        with serving(authority) as port:
            row = ask(port, authority, certificate=file)
        assert words in row["disk_error"]
        assert len(row["chain"]) == 2

    def test_disk_is_told_of_a_dead_endpoint_too(self, authority: Authority) -> None:
        assert ask(1, authority)["disk"][0].subject == SITE


def answer_plainly(plain: socket.socket) -> None:
    with suppress(OSError), plain:
        plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        plain.recv(1000)


def hang_up(plain: socket.socket) -> None:
    plain.close()


def say_nothing(plain: socket.socket) -> None:
    with suppress(OSError), plain:
        time.sleep(3 * LIMIT_SECONDS)


def dribble(plain: socket.socket) -> None:
    """The start of a handshake's answer, a byte at a time: every single read is in time."""
    with suppress(OSError), plain:
        plain.sendall(b"\x16\x03\x03\x40\x00")
        while True:
            plain.sendall(b"\0")
            time.sleep(0.2)


class TestDead:
    @pytest.mark.parametrize(
        ("behave", "code"),
        [
            (answer_plainly, {tls.NOT_TLS}),
            (hang_up, {tls.NOT_TLS, tls.UNREACHABLE}),
            (say_nothing, {tls.TIMEOUT}),
            (dribble, {tls.TIMEOUT, tls.NOT_TLS}),
        ],
    )
    def test_what_does_not_speak_tls(
        self, authority: Authority, behave: Callable[[socket.socket], None], code: set[str]
    ) -> None:
        """A row with its error, in time, whatever the server does."""
        started = time.monotonic()
        with listening(behave) as port:
            row = ask(port, authority)
        assert time.monotonic() - started < LIMIT_SECONDS + 1
        assert row["code"] in code
        assert row["chain"] == ()
        assert row["error"].startswith(f"flowrex.test at 127.0.0.1:{port}")

    def test_nobody_listens(self, authority: Authority) -> None:
        row = ask(1, authority)
        assert row["code"] == tls.UNREACHABLE
        assert "connection refused" in row["error"]

    def test_name_that_does_not_exist(self) -> None:
        """Evidence where the resolver says so; unknown where there is no resolver to ask."""
        row = source(TlsEndpoint("no-such-host.invalid", 443)).get_certificates().require().iloc[0]
        assert row["code"] in (tls.NO_SUCH_NAME, tls.UNKNOWN, tls.TIMEOUT)
        assert row["chain"] == ()

    def test_name_that_cannot_be_one(self, authority: Authority) -> None:
        """A mistake in the settings is told as one, and costs the others nothing."""
        with serving(authority) as port:
            bad, good = TlsEndpoint("127.0.0.1", port, "a" * 80), TlsEndpoint("127.0.0.1", port, SITE)
            found = source(bad, good, ca_file=authority.anchor).get_certificates().require()
        assert found["code"].tolist() == [tls.UNKNOWN, None]
        assert "correct tls.endpoints" in found["error"].iloc[0]

    def test_many_silent_ones_cost_one_limit_and_hide_nobody(self, authority: Authority) -> None:
        """Twenty hang, one answers; asked again, those that hung are not waited for."""
        with listening(say_nothing) as silent, serving(authority) as port:
            hanging = [TlsEndpoint("127.0.0.1", silent, f"{n}.test") for n in range(20)]
            asked = source(*hanging, TlsEndpoint("127.0.0.1", port, SITE), ca_file=authority.anchor)
            started = time.monotonic()
            found = asked.get_certificates().require()
            first = time.monotonic() - started
            again = asked.get_certificates().require()
        assert first < LIMIT_SECONDS
        assert time.monotonic() - started - first < LIMIT_SECONDS / 2
        assert found["code"].tolist() == again["code"].tolist() == [tls.TIMEOUT] * 20 + [None]
        assert again["verify_code"].iloc[-1] == 0

    def test_nobody_configured(self) -> None:
        assert "set tls.endpoints" in str(source().get_certificates().error)


def test_labels() -> None:
    """What people read: the name, and where it was asked for when that is elsewhere."""
    labels = [
        TlsEndpoint("flowrex.app", 443, "flowrex.app"),
        TlsEndpoint("::1", 443),
        TlsEndpoint("10.0.0.1", 8443, SITE),
    ]
    assert [one.label for one in labels] == ["flowrex.app:443", "[::1]:443", "flowrex.test at 10.0.0.1:8443"]


class TestRefused:
    """An alert is an answer in TLS: what is wrong is how it was asked, unless a client asks just so."""

    @pytest.fixture
    def picky(self, authority: Authority) -> Iterator[int]:
        """A server that refuses who asks for no name, or another one, as NGINX with ``ssl_reject_handshake`` does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = authority.fullchain(SITE)
        context.load_cert_chain(chain, chain.with_name("privkey.pem"))
        context.sni_callback = lambda _connection, name, _context: (
            None if name == SITE else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        )

        def serve(plain: socket.socket) -> None:
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

        with listening(serve) as port:
            yield port

    def test_without_a_name_the_next_step_is_to_give_one(self, picky: int, authority: Authority) -> None:
        row = ask(picky, authority, server_name=None)
        assert (row["code"], row["chain"]) == (tls.REFUSED, ())
        assert row["error"].endswith("set server_name in tls.endpoints")

    def test_a_name_that_clients_ask_for_is_unreachable(self, picky: int, authority: Authority) -> None:
        row = ask(picky, authority, server_name=OTHER)
        assert row["code"] == tls.UNREACHABLE
        assert f"refuses clients that ask for '{OTHER}'" in row["error"]

    def test_the_right_name_is_served(self, picky: int, authority: Authority) -> None:
        assert ask(picky, authority)["verify_code"] == 0

    def test_no_version_in_common_is_no_outage(self, authority: Authority) -> None:
        """A server that speaks nothing that we do: its alert says so."""

        def serve(plain: socket.socket) -> None:
            with suppress(OSError), plain:
                plain.recv(4096)
                plain.sendall(bytes.fromhex("15030100020246"))  # alert, fatal, protocol_version (RFC 8446, 6.2)
                plain.recv(1)

        with listening(serve) as port:
            row = ask(port, authority)
        assert row["code"] == tls.REFUSED
        assert "speaks TLS" in row["error"]


class TestClientCertificates:
    """A server that wants a certificate of ours, and gets none: what it serves is read and judged all the same."""

    @pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
    def demanding(self, request: pytest.FixtureRequest, authority: Authority) -> Iterator[int]:
        """It refuses at the end of the handshake in TLS 1.2, after it in 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.anchor)
        context.maximum_version = request.param

        def serve(plain: socket.socket) -> None:
            chain = authority.fullchain(SITE)
            context.load_cert_chain(chain, chain.with_name("privkey.pem"))
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

        with listening(serve) as port:
            yield port

    def test_a_sound_certificate(self, demanding: int, authority: Authority) -> None:
        row = ask(demanding, authority)
        assert (row["error"], row["verify_code"], row["trust_code"]) == (None, 0, 0)
        assert [link.subject for link in row["chain"]] == [SITE, row["chain"][1].subject]
        assert row["verify_text"] in (
            "ok",
            "ok; then it refused us (sslv3 alert handshake failure), it may want a client certificate",
        )

    def test_one_that_has_expired(self, demanding: int, authority: Authority) -> None:
        authority.issue(SITE, days_left=-2)
        row = ask(demanding, authority)
        assert (row["verify_code"], row["trust_code"]) == (10, 0)
        now = datetime.now(UTC)
        verdicts = [check_unreachable(reading(row)), check_expired(reading(row), now=now)]
        assert [verdict.kind for verdict in verdicts] == [VerdictKind.RULED_OUT, VerdictKind.CONFIRMED]

    def test_the_front_door_is_not_down(self, demanding: int, authority: Authority) -> None:
        """Whoever has a certificate is served; that we have none tells nothing."""
        door = FrontDoorSource(f"https://127.0.0.1:{demanding}", "/", limit_seconds=LIMIT_SECONDS)
        ready, says = judge_door(door.get_answer().require())
        assert ready is None
        assert "it may want a client certificate" in says


class TestInternationalNames:
    """A name in Unicode or in punycode, and a certificate in punycode, as every authority issues them."""

    @pytest.mark.parametrize(
        ("name", "ascii_form"),
        [
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Straße.example", "xn--strae-oqa.example"),
        ],
    )
    def test_it_is_asked_for_and_judged(self, authority: Authority, name: str, ascii_form: str) -> None:
        asked: list[str | None] = []
        authority.issue(SITE, names=(ascii_form,))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = authority.fullchain(SITE)
        context.load_cert_chain(chain, chain.with_name("privkey.pem"))
        context.sni_callback = lambda _connection, wanted, _context: asked.append(wanted)

        def serve(plain: socket.socket) -> None:
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

        with listening(serve) as port:
            row = ask(port, authority, server_name=name)
        assert (row["verify_code"], set(asked)) == (0, {ascii_form})
        assert check_hostname_mismatch(reading(row), now=datetime.now(UTC)).kind is VerdictKind.RULED_OUT
        assert not matches("other.example", row["chain"][0].names)


def reading(row: Any) -> Reading[pd.DataFrame]:
    return Reading("tls", "certificates", pd.DataFrame([row]))

"""Example readings of endpoints and the one verdict that each must give."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from certificate_examples import SITE, certificate, dead, endpoint, intermediate, no_reading, reading
from database_examples import NOW

from flowrex_ops.causes import causes_by_runbook
from flowrex_ops.model import Reading, Severity, Verdict, VerdictKind
from flowrex_ops.tls import checks, views

CAUSES = causes_by_runbook()["certificate_expiry"]


def judge(certificates: Reading[pd.DataFrame], warn_days: float = 21) -> dict[str, Verdict]:
    """All eight verdicts."""
    verdicts = [
        checks.check_unreachable(certificates),
        checks.check_not_reloaded(certificates, now=NOW),
        checks.check_expired(certificates, now=NOW),
        checks.check_not_yet_valid(certificates, now=NOW),
        checks.check_hostname_mismatch(certificates, now=NOW),
        checks.check_incomplete_chain(certificates),
        checks.check_untrusted(certificates),
        checks.check_expiring(certificates, now=NOW, warn_days=warn_days),
    ]
    return {verdict.cause: verdict for verdict in verdicts}


def kinds(certificates: Reading[pd.DataFrame], kind: VerdictKind) -> set[str]:
    return {cause for cause, verdict in judge(certificates).items() if verdict.kind is kind}


OLD = (certificate(5), intermediate())
NEW = (certificate(90, fingerprint="new"), intermediate())
ENDED = {"verify_code": 10, "verify_text": "certificate has expired"}
EARLY = {"verify_code": 9, "verify_text": "certificate is not yet valid"}
NO_ISSUER = {"verify_code": 20, "trust_code": 20, "trust_text": "unable to get local issuer certificate"}
SELF_SIGNED = {"verify_code": 18, "trust_code": 18, "trust_text": "self-signed certificate"}
PURPOSE = {"verify_code": 26, "trust_code": 26, "trust_text": "unsuitable certificate purpose"}
ALONE = certificate(signed_by=None, ca_issuers=("http://pki.test/i.crt",))
ITSELF = certificate(signed_by=None, self_issued=True, issuer=SITE)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


EXAMPLES: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "sound": ([endpoint()], set()),
    "renewed just now": ([endpoint(certificate(90), intermediate())], set()),
    "exactly the days that are enough": ([endpoint(certificate(21), intermediate())], set()),
    "one day before its end": ([endpoint(certificate(1), intermediate())], {"tls.expiring"}),
    "five days left of a life of six": ([endpoint(certificate(5, not_before=ago(1)), intermediate())], set()),
    "a day left of a life of six": ([endpoint(certificate(1, not_before=ago(5)), intermediate())], {"tls.expiring"}),
    "an address that stands among the DNS names": (
        [endpoint(certificate(names=("DNS:192.0.2.7",)), intermediate(), server_name="192.0.2.7")],
        {"tls.hostname-mismatch"},
    ),
    "an address that stands where addresses do": (
        [endpoint(certificate(names=("192.0.2.7",)), intermediate(), server_name="192.0.2.7")],
        set(),
    ),
    "made for another purpose": ([endpoint(**PURPOSE)], {"tls.untrusted"}),
    "ended a minute ago": ([endpoint(certificate(-1 / 1440), intermediate(), **ENDED)], {"tls.expired"}),
    "ends this very second": ([endpoint(certificate(0), intermediate())], {"tls.expired"}),
    "long ended, and nobody verified": (
        [endpoint(certificate(-400), intermediate(), verify_code=None, trust_code=0)],
        {"tls.expired"},
    ),
    "its intermediate has ended": ([endpoint(certificate(), intermediate(-3), **ENDED)], {"tls.expired"}),
    "an intermediate has ended that clients do without": ([endpoint(certificate(), intermediate(-3))], set()),
    "a root above that is not served has ended": ([endpoint(**ENDED)], {"tls.expired"}),
    "its intermediate ends soon": ([endpoint(certificate(), intermediate(4))], {"tls.expiring"}),
    "begins tomorrow": ([endpoint(certificate(91), intermediate(), **EARLY)], {"tls.not-yet-valid"}),
    "for another name": (
        [endpoint(certificate(names=("staging.test",)), intermediate())],
        {"tls.hostname-mismatch"},
    ),
    "without any name but the common name": (
        [endpoint(certificate(names=()), intermediate())],
        {"tls.hostname-mismatch"},
    ),
    "sent without its intermediate": ([endpoint(ALONE, **NO_ISSUER)], {"tls.incomplete-chain"}),
    "sent without it, in the words of older OpenSSL": (
        [endpoint(ALONE, **{**NO_ISSUER, "trust_code": 21})],
        {"tls.incomplete-chain"},
    ),
    "sent with one that did not sign it": (
        [endpoint(ALONE, intermediate(), **NO_ISSUER)],
        {"tls.incomplete-chain"},
    ),
    "sent without its intermediate by a private authority": (
        [endpoint(certificate(signed_by=None), own_anchors=True, **NO_ISSUER)],
        {"tls.incomplete-chain"},
    ),
    "sent without the one that lies on disk": (
        [endpoint(certificate(signed_by=None), disk=(certificate(signed_by=1), intermediate()), **NO_ISSUER)],
        {"tls.incomplete-chain"},
    ),
    "signed by itself": ([endpoint(ITSELF, **SELF_SIGNED)], {"tls.untrusted"}),
    "of an unknown authority": ([endpoint(**NO_ISSUER)], {"tls.untrusted"}),
    "of an unknown authority whose root is sent": (
        [endpoint(**{**SELF_SIGNED, "verify_code": 19, "trust_code": 19})],
        {"tls.untrusted"},
    ),
    "ended, and of an unknown authority": (
        [endpoint(certificate(-2), intermediate(), **{**NO_ISSUER, **ENDED})],
        {"tls.expired", "tls.untrusted"},
    ),
    "renewed on disk": ([endpoint(*OLD, disk=NEW)], {"tls.not-reloaded"}),
    "renewed on disk after the end": (
        [endpoint(certificate(-1), intermediate(), disk=NEW, **ENDED)],
        {"tls.not-reloaded"},
    ),
    "renewed on disk with the name that was missing": (
        [endpoint(certificate(names=("old.test",)), intermediate(), disk=NEW)],
        {"tls.not-reloaded"},
    ),
    "renewed on disk, without the name": (
        [endpoint(*OLD, server_name="other.test", disk=NEW)],
        {"tls.not-reloaded", "tls.hostname-mismatch"},
    ),
    "renewed on disk, but that ends soon too": (
        [endpoint(*OLD, disk=(certificate(9, fingerprint="new"), intermediate()))],
        {"tls.not-reloaded", "tls.expiring"},
    ),
    "on disk lies an older one": ([endpoint(*NEW, disk=OLD)], set()),
    "on disk lies one that begins tomorrow": (
        [endpoint(*OLD, disk=(certificate(91, fingerprint="new"), intermediate()))],
        {"tls.expiring"},
    ),
    "refused": ([dead()], {"tls.unreachable"}),
    "silent": ([dead("timeout")], {"tls.unreachable"}),
    "plain text": ([dead("not-tls")], {"tls.unreachable"}),
    "two at once": (
        [endpoint(*OLD), endpoint(certificate(names=("staging.test",)), intermediate(), endpoint="ws:443")],
        {"tls.expiring", "tls.hostname-mismatch"},
    ),
    "one dead beside one that ends soon": ([endpoint(*OLD), dead()], {"tls.unreachable", "tls.expiring"}),
}


@pytest.mark.parametrize(
    ("ahead", "kind"),
    [
        ((86400.0, 86399.0), VerdictKind.INCONCLUSIVE),
        ((-7776000.0, None), VerdictKind.INCONCLUSIVE),
        ((86400.0, 0.2), VerdictKind.CONFIRMED),  # one server's own
        ((None, None), VerdictKind.CONFIRMED),
    ],
)
def test_a_clock_that_is_nobody_elses(ahead: tuple[float | None, ...], kind: VerdictKind) -> None:
    """By it a certificate of today began tomorrow, and OpenSSL says so, too."""
    clocks = Reading("clocks", "clocks", pd.DataFrame({"who": ["front door", "backend-1"], "ahead_seconds": ahead}))
    early = reading(endpoint(certificate(91), intermediate(), **EARLY))
    assert checks.check_not_yet_valid(early, now=NOW, clocks=clocks).kind is kind


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    """Exactly these causes are confirmed; where every endpoint answered, nothing stays open that was asked."""
    rows, expected = EXAMPLES[example]
    assert kinds(reading(*rows), VerdictKind.CONFIRMED) == expected
    if all(row["chain"] for row in rows) and not any(row["trust_code"] is None for row in rows):
        assert kinds(reading(*rows), VerdictKind.INCONCLUSIVE) == set()


class TestUnknown:
    def test_no_reading_leaves_all_open(self) -> None:
        verdicts = judge(no_reading())
        assert {verdict.kind for verdict in verdicts.values()} == {VerdictKind.INCONCLUSIVE}
        assert "set tls.endpoints" in verdicts["tls.expired"].reason

    def test_no_endpoint_leaves_all_open(self) -> None:
        """An empty table is no proof of health."""
        assert kinds(reading(), VerdictKind.INCONCLUSIVE) == set(CAUSES)

    def test_dead_endpoint_leaves_its_certificate_open(self) -> None:
        """One that answers and is sound does not speak for the one that does not."""
        assert kinds(reading(endpoint(), dead()), VerdictKind.INCONCLUSIVE) == set(CAUSES) - {"tls.unreachable"}

    def test_our_own_network_is_no_evidence(self) -> None:
        assert kinds(reading(dead("unknown")), VerdictKind.INCONCLUSIVE) == set(CAUSES)

    def test_no_file_configured(self) -> None:
        found = judge(reading(endpoint(disk=(), disk_path=None)))["tls.not-reloaded"]
        assert (found.kind, "set it in tls.endpoints" in found.reason) == (VerdictKind.INCONCLUSIVE, True)

    def test_file_that_cannot_be_read(self) -> None:
        found = judge(reading(endpoint(disk=(), disk_error="'x' cannot be read: permission denied")))
        assert found["tls.not-reloaded"].reason == "'x' cannot be read: permission denied"

    def test_name_that_nobody_told(self) -> None:
        unknown = kinds(reading(endpoint(server_name=None)), VerdictKind.INCONCLUSIVE)
        assert unknown == {"tls.hostname-mismatch"}

    def test_trust_that_could_not_be_found_out(self) -> None:
        row = endpoint(verify_code=None, trust_code=None, trust_text="tls.ca_file 'x' cannot be used: no such file")
        found = judge(reading(row))
        assert found["tls.untrusted"].kind is found["tls.incomplete-chain"].kind is VerdictKind.INCONCLUSIVE
        assert "no such file" in found["tls.untrusted"].reason

    def test_private_authority_that_nobody_told(self) -> None:
        """Its own certificate is nowhere to be had, unlike that of every public one: neither cause can be told."""
        found = judge(reading(endpoint(certificate(signed_by=None), **NO_ISSUER)))
        assert found["tls.untrusted"].kind is found["tls.incomplete-chain"].kind is VerdictKind.INCONCLUSIVE
        assert "a private authority, then set tls.ca_file" in found["tls.untrusted"].reason


class TestSeverity:
    def test_everything_unreachable_is_an_outage(self) -> None:
        assert judge(reading(dead(), dead()))["tls.unreachable"].severity is Severity.P0

    def test_one_of_two_unreachable(self) -> None:
        assert judge(reading(dead(), endpoint()))["tls.unreachable"].severity is Severity.P1

    def test_reload_is_urgent_once_clients_refuse(self) -> None:
        late = endpoint(certificate(-1), intermediate(), disk=NEW)
        assert judge(reading(late))["tls.not-reloaded"].severity is Severity.P1
        assert judge(reading(endpoint(*OLD, disk=NEW)))["tls.not-reloaded"].severity is Severity.P2


class TestReasons:
    def test_expired_says_since_when(self) -> None:
        found = judge(reading(endpoint(certificate(-2), intermediate())))["tls.expired"]
        assert found.reason == "the certificate of flowrex.test expired 2 days ago, 2026-01-29 04:12 UTC"
        assert "valid 2025-10-31 04:12 to 2026-01-29 04:12 UTC" in found.evidence[0].value

    def test_intermediate_is_named(self) -> None:
        found = judge(reading(endpoint(certificate(), intermediate(4))))["tls.expiring"]
        assert found.reason.startswith("'Intermediate' above flowrex.test expires in 4 days")

    def test_what_a_reload_cures_is_not_called_fine(self) -> None:
        late = endpoint(certificate(-1), intermediate(), disk=NEW)
        assert judge(reading(late))["tls.expired"].reason == (
            "no served certificate is past its end, but for flowrex.test, which a reload cures (tls.not-reloaded)"
        )

    def test_missing_intermediate_and_where_it_is(self) -> None:
        found = judge(reading(endpoint(ALONE, **NO_ISSUER)))["tls.incomplete-chain"]
        assert found.reason == "flowrex.test does not send 'Intermediate', which signed its certificate"
        assert found.evidence[-1].value == "http://pki.test/i.crt"

    def test_another_purpose_is_said_in_openssls_own_words(self) -> None:
        """Its root is an anchor; to say that it is none would be untrue."""
        found = judge(reading(endpoint(**PURPOSE)))["tls.untrusted"]
        assert found.reason.endswith("do not trust: unsuitable certificate purpose")

    def test_many_are_counted(self) -> None:
        rows = [endpoint(certificate(-n), intermediate(), endpoint=f"h{n}", server_name=SITE) for n in range(1, 6)]
        found = judge(reading(*rows))["tls.expired"]
        assert found.reason.endswith("; and 2 more")
        assert len(found.evidence) == 5


NAMES = {
    ("flowrex.test", "flowrex.test"): True,
    ("FLOWREX.test.", "flowrex.TEST"): True,
    ("api.flowrex.test", "*.flowrex.test"): True,
    ("flowrex.test", "*.flowrex.test"): False,
    ("a.b.flowrex.test", "*.flowrex.test"): False,
    ("localhost", "*"): False,
    ("10.0.0.1", "10.0.0.1"): True,
    ("10.0.0.1", "*.0.0.1"): False,
    ("::1", "0:0:0:0:0:0:0:1"): True,
    ("bücher.test", "xn--bcher-kva.test"): True,
    ("", "flowrex.test"): False,
}


@pytest.mark.parametrize("pair", NAMES, ids=" for ".join)
def test_names(pair: tuple[str, str]) -> None:
    assert views.matches(pair[0], [pair[1]]) is NAMES[pair]


def test_path_ends_where_a_chain_goes_round() -> None:
    """A chain may be anything that a server sends."""
    one, two = certificate(signed_by=1), intermediate(signed_by=0)
    assert views.path_of((one, two)) == [one, two]


def test_tables_hold_every_endpoint() -> None:
    """Also those without a certificate; a date that is far away does not overflow."""
    far = certificate(fingerprint="far", not_after=NOW + timedelta(days=365 * 7000))
    rows = reading(endpoint(), endpoint(far), dead(endpoint="gone:443")).require()
    assert len(views.summarise(rows)) == 3
    assert len(views.compare_with_disk(rows)) == 3
    assert len(views.list_chains(rows)) == 3
    assert views.list_revocation(rows).empty

"""What holds for every reading of endpoints, also for those that no server should give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
from certificate_examples import certificate, endpoint
from database_examples import NOW
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops import charts
from flowrex_ops.model import Reading, VerdictKind
from flowrex_ops.tls import views
from flowrex_ops.tls.source import CERTIFICATE_COLUMNS
from tests.tls.test_checks import judge

DATE_CAUSES = ("tls.expired", "tls.not-yet-valid", "tls.expiring")

days = st.floats(-200, 3000).map(lambda left: round(left, 2))
links = st.builds(
    certificate,
    days,
    subject=st.sampled_from(["flowrex.test", "Intermediate", "Root", ""]),
    issuer=st.sampled_from(["flowrex.test", "Intermediate", "Root"]),
    names=st.lists(st.sampled_from(["flowrex.test", "*.test", "127.0.0.1", "", "*."]), max_size=3).map(tuple),
    self_issued=st.booleans(),
    signed_by=st.one_of(st.none(), st.integers(0, 4)),
    fingerprint=st.sampled_from(["a", "b", "c"]),
)
chains = st.lists(links, max_size=4).map(tuple)
codes = st.sampled_from([None, 0, 2, 9, 10, 18, 19, 20, 21, 66])
texts = st.one_of(st.none(), st.text(max_size=10))
rows = st.builds(
    lambda chain, facts: endpoint(*chain, **{**facts, "chain": chain}),
    chains,
    st.fixed_dictionaries(
        {
            "endpoint": st.sampled_from(["a:443", "b:443", "c:8443"]),
            "server_name": st.sampled_from([None, "flowrex.test", "x.test", "127.0.0.1", "", "ü.test", "a..b"]),
            "disk": chains,
            "disk_path": texts,
            "disk_error": texts,
            "verify_code": codes,
            "verify_text": texts,
            "trust_code": codes,
            "trust_text": texts,
            "code": st.sampled_from([None, "unreachable", "timeout", "not-tls", "no-such-name", "unknown"]),
            "error": texts,
        }
    ),
)


def read(found: list[dict[str, Any]]) -> Reading[pd.DataFrame]:
    return Reading("tls", "certificates", pd.DataFrame(found, columns=CERTIFICATE_COLUMNS))


tables = st.lists(rows, max_size=5)


@given(tables)
def test_no_input_makes_a_check_raise(found: list[dict[str, Any]]) -> None:
    """Every check answers, with a reason; so does every table."""
    assert all(verdict.reason for verdict in judge(read(found)).values())
    table = read(found).require()
    for view in (views.summarise, views.list_chains, views.compare_with_disk, views.list_revocation):
        view(table)


@given(tables, st.randoms())
def test_order_of_rows_does_not_matter(found: list[dict[str, Any]], rng: Any) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)
    reported = {cause: (v.kind, v.reason, v.severity) for cause, v in judge(read(found)).items()}
    assert reported == {cause: (v.kind, v.reason, v.severity) for cause, v in judge(read(shuffled)).items()}


@given(tables)
def test_no_check_fails_open(found: list[dict[str, Any]]) -> None:
    """Whatever the others say: with one endpoint that gave no certificate, nothing is ruled out."""
    silent = {**endpoint(), "chain": (), "code": "timeout", "error": "did not answer"}
    verdicts = judge(read([*found, silent]))
    assert all(verdict.kind is not VerdictKind.RULED_OUT for verdict in verdicts.values())


@given(rows)
def test_a_date_is_attributed_once(row: dict[str, Any]) -> None:
    """A single certificate, accepted by clients or not, has one trouble with its dates at most."""
    alone = {**row, "chain": row["chain"][:1], "disk": (), "verify_code": 0}
    confirmed = [cause for cause in DATE_CAUSES if judge(read([alone]))[cause].confirmed]
    assert len(confirmed) <= 1


@given(st.floats(-100, 100))
def test_dates_follow_the_clock_alone(left: float) -> None:
    """Before its end a certificate is fine or expiring, after it expired; never anything in between."""
    verdicts = judge(read([endpoint(certificate(left), disk=())]))
    expected = "tls.expired" if left * 86400 < 1e-6 else "tls.expiring" if left < 21 else None
    early = timedelta(days=left - 90) > timedelta(0)
    confirmed = {cause for cause in DATE_CAUSES if verdicts[cause].confirmed}
    assert confirmed == ({"tls.not-yet-valid"} if early else {expected} - {None})


def test_chart_draws_what_there_is() -> None:
    """No endpoint, dead ones, lives of an hour and of a century, and more than fit."""
    dead = {**endpoint(), "chain": (), "error": "refused"}
    long = endpoint(certificate(36500, not_before=NOW - timedelta(days=36500)))
    short = endpoint(certificate(0.01, not_before=NOW - timedelta(hours=1)), disk=(certificate(90),))
    for found in ([], [dead], [dead, long, short], [endpoint()] * 20):
        assert charts.plot_validity(read(found).require(), now=NOW, warn_days=21).axes

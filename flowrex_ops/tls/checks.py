"""Why clients refuse a certificate, or soon will: eight causes told apart, each by one check.

Dates are compared with *now*, which the caller takes from the reading. Dates, names and trust are three questions, so one
certificate can have up to three findings; within each it is attributed to the root alone. OpenSSL stops at its first objection, so where that is a date the chain is verified once more with dates left aside
(X509_V_FLAG_NO_CHECK_TIME): an expired certificate then neither hides an unknown authority nor looks like one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out
from flowrex_ops.model import Evidence, Reading, Severity, Verdict, worst
from flowrex_ops.tls import views as c
from flowrex_ops.tls.certificates import Certificate
from flowrex_ops.tls.source import DATE_CODES, NO_CERTIFICATE, TRUSTED
from flowrex_ops.tls.views import Served

Frame = Reading[pd.DataFrame]

NOT_YET_VALID, HAS_EXPIRED = 9, 10
_WRONG_SECONDS = 600.0
"""Of a clock: less moves no certificate's date that anybody would act on."""
_TOLD = 3
"""So many endpoints are told in a reason; all are in the evidence."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One endpoint that has the trouble, and what shows it."""

    text: str
    evidence: tuple[Evidence, ...]
    severity: Severity | None = None


@check("tls.unreachable")
def check_unreachable(certificates: Frame) -> Verdict:
    """Every endpoint serves a certificate; what only tells of this machine (no network, no resolver) is no evidence."""
    cause = "tls.unreachable"
    if missing(certificates):
        return inconclusive(cause, certificates)
    endpoints = c.each_endpoint(certificates.require())
    dead = [one for one in endpoints if not one.chain and one.code in NO_CERTIFICATE]
    if dead:
        severity = Severity.P0 if len(dead) == len(endpoints) else Severity.P1
        title = f"{len(dead)} of {len(endpoints)} endpoints give no certificate"
        evidence = [Evidence(one.endpoint, f"{one.error}", "tls: handshake") for one in dead]
        reason = f"{title}: {_join([f'{one.error}' for one in dead], most=1)}"
        return confirmed(cause, reason, evidence, severity=severity, title=title)
    silent = [one for one in endpoints if not one.chain]
    if silent or not endpoints:
        return inconclusive(cause, _join([f"{one.error}" for one in silent]) or "no endpoint was asked")
    return ruled_out(cause, f"all {len(endpoints)} endpoints serve a certificate")


# What a reload cures is attributed to this alone, also an expired certificate: the smallest cure decides. It needs
# the file; without it this stays inconclusive.
@check("tls.not-reloaded")
def check_not_reloaded(certificates: Frame, *, now: datetime, clocks: Frame | None = None) -> Verdict:
    """What each endpoint serves is what lies on disk, or what lies there is no newer valid certificate."""

    def find(one: Served) -> Hit | None:
        renewed = c.pending(one, now)
        if renewed is None:
            return None
        served = one.chain[0]
        refused = not served.not_before <= now < served.not_after
        text = f"{one.name} serves a certificate until {c.day(served.not_after)}; one until {c.day(renewed.not_after)} lies on disk"
        evidence = (_certificate(one, served), Evidence(f"on disk: {one.disk_path}", _dates(renewed), "file"))
        return Hit(text, evidence, Severity.P1 if refused else Severity.P2)

    def unknown(one: Served) -> str | None:
        if one.disk:
            return None
        return one.disk_error or f"no certificate on disk is configured for {one.name}; set it in tls.endpoints"

    fine = "what is served is what lies on disk, or newer"
    return _by_this_clock(_judge("tls.not-reloaded", certificates, find, unknown, fine), clocks)


@check("tls.expired")
def check_expired(certificates: Frame, *, now: datetime, clocks: Frame | None = None) -> Verdict:
    """No served certificate, nor one above it that clients need, is past its end."""

    def find(one: Served) -> Hit | None:
        over = [link for link in c.path_of(one.chain) if link.not_after <= now]
        if not (_own(over, one) or _refused(one, over, HAS_EXPIRED)):
            return None
        if not over:
            return Hit(f"{one.name}: clients find a certificate above the served ones expired", (_client(one),))
        first = over[0]
        text = f"{_whose(one, first)} expired {c.span(now - first.not_after)} ago, {c.day(first.not_after)} UTC"
        return Hit(text, tuple(_certificate(one, link) for link in over))

    def cured(one: Served) -> bool:
        return c.pending(one, now) is not None

    fine = "no served certificate is past its end"
    return _by_this_clock(_judge("tls.expired", certificates, find, _dates_are_reported, fine, cured), clocks)


@check("tls.not-yet-valid")
def check_not_yet_valid(certificates: Frame, *, now: datetime, clocks: Frame | None = None) -> Verdict:
    """Every served certificate, and those above it, has begun."""

    def find(one: Served) -> Hit | None:
        early = [link for link in c.path_of(one.chain) if link.not_before > now]
        if not (_own(early, one) or _refused(one, early, NOT_YET_VALID)):
            return None
        if not early:
            return Hit(f"{one.name}: clients find a certificate above the served ones not yet valid", (_client(one),))
        first = early[0]
        text = f"{_whose(one, first)} begins in {c.span(first.not_before - now)}, {c.day(first.not_before)} UTC"
        return Hit(text, tuple(_certificate(one, link) for link in early))

    def cured(one: Served) -> bool:
        return c.pending(one, now) is not None

    fine = "every served certificate has begun"
    return _by_this_clock(_judge("tls.not-yet-valid", certificates, find, _dates_are_reported, fine, cured), clocks)


# 21 days, not 30: certbot renews when thirty of ninety days are left, so a warning at 30 would come before every
# renewal, and at 21 a week of them has failed.
@check("tls.expiring")
def check_expiring(
    certificates: Frame, *, now: datetime, warn_days: float = 21.0, clocks: Frame | None = None
) -> Verdict:
    """Every certificate that is valid now has more than *warn_days* left, or a third of its life where that is less.

    Where a reload is due, the one on disk has.
    """

    def find(one: Served) -> Hit | None:
        valid = [link for link in c.path_of(one.chain) if link.not_before <= now]
        soon = [link for link in valid if link.not_after > now and c.ends_soon(link, now, warn_days)]
        if not soon:
            return None
        first = min(soon, key=lambda link: link.not_after)
        text = f"{_whose(one, first)} expires in {c.span(first.not_after - now)}, {c.day(first.not_after)} UTC"
        return Hit(text, tuple(_certificate(one, link) for link in soon))

    def cured(one: Served) -> bool:
        renewed = c.pending(one, now)
        return renewed is not None and not c.ends_soon(renewed, now, warn_days)

    fine = f"no certificate that is valid expires within {warn_days:g} days, or the last third of a shorter life{_first_end(certificates, now)}"
    return _by_this_clock(_judge("tls.expiring", certificates, find, _dates_are_reported, fine, cured), clocks)


@check("tls.hostname-mismatch")
def check_hostname_mismatch(certificates: Frame, *, now: datetime) -> Verdict:
    """Every certificate is for the name that clients ask for; the common name does not count, as for every client."""

    def find(one: Served) -> Hit | None:
        if one.server_name is None or c.matches(one.server_name, one.chain[0].names):
            return None
        names = ", ".join(one.chain[0].names) or "no name at all"
        evidence = (Evidence(f"asked for {one.server_name}", f"valid for {names}", "tls: subject alternative name"),)
        return Hit(f"{one.name} serves a certificate for {names}", (*evidence, _certificate(one, one.chain[0])))

    def unknown(one: Served) -> str | None:
        return None if one.server_name else f"the name of {one.endpoint} is not known; set server_name in tls.endpoints"

    def cured(one: Served) -> bool:
        renewed = c.pending(one, now)
        return renewed is not None and c.matches(one.name, renewed.names)

    fine = "every certificate is for the name that clients ask for"
    return _judge("tls.hostname-mismatch", certificates, find, unknown, fine, cured)


# A leaf without its signer is an incomplete chain, one with its signer and no anchor is untrusted. What could be fetched
# (AIA, OCSP, CRL) is shown and not fetched: a runbook must not wait for a third party.
@check("tls.incomplete-chain")
def check_incomplete_chain(certificates: Frame) -> Verdict:
    """Every endpoint sends its certificate together with the one that signed it, or that one is an anchor."""

    def find(one: Served) -> Hit | None:
        if not c.lacks_issuer(one) or c.authority_unknown(one):
            return None
        leaf = one.chain[0]
        text = f"{one.name} does not send '{leaf.issuer}', which signed its certificate"
        sent = ", ".join(link.subject for link in one.chain)
        evidence = [Evidence("sent", f"{len(one.chain)}: {sent}", "tls"), _client(one), _certificate(one, leaf)]
        if leaf.ca_issuers:
            evidence.append(Evidence("the missing one is at", leaf.ca_issuers[0], "certificate: authority information"))
        return Hit(text, tuple(evidence))

    fine = "every certificate comes with the one that signed it, or that one is an anchor"
    return _judge("tls.incomplete-chain", certificates, find, _authority_unknown, fine)


@check("tls.untrusted")
def check_untrusted(certificates: Frame) -> Verdict:
    """Every chain ends at an anchor of this machine or of ``tls.ca_file``; dates and names are left aside."""

    def find(one: Served) -> Hit | None:
        if one.trust_code in (None, TRUSTED, *DATE_CODES) or c.lacks_issuer(one):
            return None
        last = c.path_of(one.chain)[-1]
        why = f"{one.trust_text}"
        if last.self_issued:
            why = "it is self-signed"
        elif one.trust_code in c.ISSUER_NOT_FOUND:
            why = f"it leads to '{last.issuer}', which is no anchor here"
        text = f"{one.name} serves a certificate that clients do not trust: {why}"
        return Hit(text, (_client(one), _certificate(one, one.chain[0])))

    return _judge("tls.untrusted", certificates, find, _authority_unknown, "every whole chain ends at a known anchor")


def _judge(
    cause: str,
    certificates: Frame,
    find: Callable[[Served], Hit | None],
    unknown: Callable[[Served], str | None],
    fine: str,
    cured: Callable[[Served], bool] = lambda _one: False,
) -> Verdict:
    """Confirmed by one endpoint that has it; ruled out only when every endpoint told what is needed for that.

    What a reload alone cures (*cured*) is attributed to ``tls.not-reloaded``, and the reason says so.
    """
    if missing(certificates):
        return inconclusive(cause, certificates)
    endpoints = c.each_endpoint(certificates.require())
    found = [(one, hit) for one in endpoints if one.chain and (hit := find(one))]
    hits = [hit for one, hit in found if not cured(one)]
    if hits:
        evidence = [fact for hit in hits for fact in hit.evidence]
        texts = [hit.text for hit in hits]
        severity = worst([hit.severity for hit in hits if hit.severity])
        return confirmed(cause, _join(texts), evidence, severity=severity, title=_join(texts, most=1))
    silent = [one.error or f"{one.endpoint} gave none" for one in endpoints if not one.chain]
    doubts = [doubt for one in endpoints if one.chain and (doubt := unknown(one))]
    if silent or doubts or not endpoints:
        reported = [f"no certificate to look at: {_join(silent, most=1)}"] if silent or not endpoints else []
        return inconclusive(cause, "; ".join([*reported, _join(doubts)] if doubts else reported))
    spared = ", ".join(one.name for one, _ in found)
    return ruled_out(cause, f"{fine}, but for {spared}, which a reload cures (tls.not-reloaded)" if spared else fine)


def _by_this_clock(verdict: Verdict, clocks: Frame | None) -> Verdict:
    """*verdict*; open where the time by which it is judged, OpenSSL's too, is nobody else's (``ClockSource``)."""
    told = clocks.require()["ahead_seconds"] if clocks is not None and clocks.available else []
    ahead = pd.to_numeric(pd.Series(told, dtype=object), errors="coerce").dropna()
    if ahead.empty or ahead.abs().min() < _WRONG_SECONDS:
        return verdict
    off = f"{c.span(timedelta(seconds=abs(ahead.median())))} {'behind' if ahead.median() > 0 else 'ahead'}"
    return inconclusive(verdict.cause, f"this machine's clock is {off} of every server's; correct the wrong one first")


def _first_end(certificates: Frame, now: datetime) -> str:
    """Which of the certificates that are valid ends first, as a reason's last words."""
    endpoints = c.each_endpoint(certificates.require()) if certificates.available else []
    ends = sorted((one.chain[0].not_after, one.name) for one in endpoints if one.chain)
    ahead = [(end, name) for end, name in ends if end > now]
    return f"; the first to end is that of {ahead[0][1]}, {c.day(ahead[0][0])} UTC" if ahead else ""


def _join(texts: Sequence[str], most: int = _TOLD) -> str:
    unique = list(dict.fromkeys(texts))
    more = f"; and {len(unique) - most} more" if len(unique) > most else ""
    return "; ".join(unique[:most]) + more


def _own(found: Sequence[Certificate], one: Served) -> bool:
    """Whether the server's own certificate is among those *found*."""
    return bool(found) and found[0] is one.chain[0]


def _refused(one: Served, found: Sequence[Certificate], code: int) -> bool:
    """Whether a date higher up matters: clients refuse for it. One on a path that they need not take does not."""
    return one.verify_code == code or (one.verify_code is None and bool(found))


def _dates_are_reported(_one: Served) -> None:
    """Nothing is unknown about the dates of a certificate that was served."""


def _trust_unknown(one: Served) -> str | None:
    if one.trust_code is None:
        return f"whether {one.name} is trusted could not be found out: {one.trust_text}"
    return None


def _authority_unknown(one: Served) -> str | None:
    if not c.authority_unknown(one):
        return _trust_unknown(one)
    signer = f"'{one.chain[0].issuer}', which signed the certificate of {one.name}, is neither sent nor an anchor here"
    return f"{signer}: a private authority, then set tls.ca_file, or an intermediate that is missing"


def _whose(one: Served, link: Certificate) -> str:
    return (
        f"the certificate of {one.name}"
        if link in (*one.chain[:1], *one.disk[:1])
        else f"'{link.subject}' above {one.name}"
    )


def _dates(link: Certificate) -> str:
    return f"valid {c.day(link.not_before)} to {c.day(link.not_after)} UTC, issued by '{link.issuer}', SHA-256 {link.fingerprint[:16]}…"


def _certificate(one: Served, link: Certificate) -> Evidence:
    return Evidence(f"{one.name}: '{link.subject}'", _dates(link), "tls: handshake")


def _client(one: Served) -> Evidence:
    return Evidence(f"{one.name}: OpenSSL's verdict", f"{one.trust_text} (code {one.trust_code})", "tls: verification")

"""Readings of endpoints made by hand: a sound one, and what each example changes about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
from database_examples import NOW

from flowrex_ops.model import Reading
from flowrex_ops.tls.certificates import Certificate
from flowrex_ops.tls.source import CERTIFICATE_COLUMNS

SITE = "flowrex.test"


def certificate(days_left: float = 60.0, **facts: Any) -> Certificate:
    """A site's certificate with a life of ninety days, signed by the second one of its chain."""
    end = NOW + timedelta(days=days_left)
    given: dict[str, Any] = {
        "subject": SITE,
        "issuer": "Intermediate",
        "names": (SITE, "*.app.test"),
        "not_before": end - timedelta(days=90),
        "not_after": end,
        "serial": "1",
        "fingerprint": f"leaf-{days_left:g}",
        "self_issued": False,
        "signed_by": 1,
    }
    return Certificate(**{**given, **facts})


def intermediate(days_left: float = 900.0, **facts: Any) -> Certificate:
    """The one that signed it, itself signed by a root that is not sent."""
    given: dict[str, Any] = {
        "subject": "Intermediate",
        "issuer": "Root",
        "names": (),
        "not_before": NOW - timedelta(days=900),
        "fingerprint": "intermediate",
        "signed_by": None,
    }
    return certificate(days_left, **{**given, **facts})


def endpoint(*chain: Certificate, **facts: Any) -> dict[str, Any]:
    """An endpoint that serves *chain*, with which clients are content; what lies on disk is the same."""
    served = chain or (certificate(), intermediate())
    row: dict[str, Any] = dict.fromkeys(CERTIFICATE_COLUMNS)
    row |= {
        "endpoint": "flowrex.test:443",
        "asked_at": NOW,
        "server_name": SITE,
        "protocol": "TLSv1.3",
        "chain": served,
        "verify_code": 0,
        "verify_text": "ok",
        "trust_code": 0,
        "trust_text": "ok",
        "disk": served,
        "disk_path": "fullchain.pem",
    }
    return row | facts


def dead(code: str = "unreachable", **facts: Any) -> dict[str, Any]:
    """An endpoint that gives no certificate."""
    error = "flowrex.test:443 gave no certificate: connection refused"
    return endpoint(**{"chain": (), "code": code, "error": error, "verify_code": None, "trust_code": None, **facts})


def reading(*rows: dict[str, Any]) -> Reading[pd.DataFrame]:
    return Reading("tls", "certificates", pd.DataFrame(list(rows), columns=CERTIFICATE_COLUMNS), taken_at=NOW)


def no_reading() -> Reading[pd.DataFrame]:
    return Reading("tls", "certificates", error="tls is not configured; set tls.endpoints")

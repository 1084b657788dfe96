"""How severe it is that requests fail: the playbook's thresholds, in one place."""

from __future__ import annotations

from flowrex_ops.model import Severity

COMPLETE = 0.95
"""Of a complete outage some requests are still answered: what the proxy serves by itself."""
MAJOR = 0.5
_FEW = 10


def severity_of(failed: int, requests: int) -> Severity:
    """P0 where nothing is served, P1 where half of the requests or more fail, P2 below; of *requests* *failed* did so."""
    share = failed / max(1, requests)
    if share >= COMPLETE and requests >= _FEW:
        return Severity.P0
    return Severity.P1 if share >= MAJOR else Severity.P2

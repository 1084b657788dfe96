"""The catalogue on a terminal: a line each, one in full."""

from __future__ import annotations

import pytest

from flowrex_ops.cli import main


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["flowrex-ops", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_line_each_and_triage_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(capsys, monkeypatch, "runbooks").splitlines()
    assert lines[:3] == [
        "first:",
        "  triage                     P1  Triage: what is wrong, and how severe is it?",
        "incidents:",
    ]
    assert max(map(len, lines)) < 100


def test_one_in_full(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(capsys, monkeypatch, "runbooks", "certificate_expiry")
    for part in ("alerts: CertificateExpiringSoon", "tls.expired  ", "warn_days=0.0"):
        assert part in said

"""Sentry and the status pages against the stand-in over real sockets: well, down, slow, 401, 429, malformed, outage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from outside_process import Outside, running
from pydantic import SecretStr

from flowrex_ops.services.third_party import ISSUE_COLUMNS, SentrySource, StatusPagesSource, parse_summary
from flowrex_ops.settings import STATUS_PAGES, SentrySettings, Settings

TOKEN = "sntrys-0123456789"
HOUR = timedelta(hours=1)
LIMIT_SECONDS = 2.0


@pytest.fixture(scope="module")
def process() -> Iterator[Outside]:
    with running(SENTRY_TOKEN=TOKEN) as found:
        yield found


@pytest.fixture
def outside(process: Outside) -> Iterator[Outside]:
    """Without a fault, before and after."""
    yield process
    for service in ("sentry", "status-pages"):
        process.heal(service)


def sentry(url: str, token: str | None = TOKEN) -> SentrySource:
    settings = SentrySettings(url=url, token=SecretStr(token) if token else None)
    return SentrySource(settings, limit_seconds=LIMIT_SECONDS, limit_rows=100)


def pages(url: str, *names: str) -> StatusPagesSource:
    found = {name: f"{url}/status/{name}" for name in names or ("twelvedata", "oanda", "aws", "cloudflare")}
    return StatusPagesSource(found, limit_seconds=LIMIT_SECONDS, limit_rows=100)


class TestSentry:
    def test_old_issues_that_were_not_seen_lately_are_left_out(self, outside: Outside) -> None:
        issues = sentry(outside.url).get_issues(since=HOUR).require()
        assert list(issues.columns) == ISSUE_COLUMNS
        assert issues.empty

    def test_further_back_they_are_there_and_not_new(self, outside: Outside) -> None:
        issues = sentry(outside.url).get_issues(since=timedelta(hours=12)).require()
        assert issues[["title", "events", "new"]].values.tolist() == [["ConnectionResetError", 412, False]]

    def test_new_issue(self, outside: Outside) -> None:
        outside.fail("sentry", fault="issues")
        issues = sentry(outside.url).get_issues(since=HOUR).require()
        assert issues["new"].tolist() == [True]
        assert issues["title"].iloc[0].startswith("KeyError")

    @pytest.mark.parametrize(
        ("fault", "said", "code"),
        [
            ("unauthorized", "the token is refused", "401"),
            ("rate-limit", "too many requests", "429"),
            ("malformed", "trouble of its own|not JSON", None),
        ],
    )
    def test_refusals_say_what_to_do(self, outside: Outside, fault: str, said: str, code: str | None) -> None:
        outside.fail("sentry", fault=fault)
        reading = sentry(outside.url).get_issues(since=HOUR)
        assert any(words in str(reading.error) for words in said.split("|"))
        assert code in (None, reading.code)

    def test_wrong_token(self, outside: Outside) -> None:
        assert sentry(outside.url, "wrong").get_issues(since=HOUR).code == "401"

    @pytest.mark.parametrize("fault", [{"fault": "slow", "seconds": 5}, {"fault": "silent"}])
    def test_slow_is_bounded(self, outside: Outside, fault: dict[str, Any]) -> None:
        outside.fail("sentry", **fault)
        started = time.monotonic()
        assert not sentry(outside.url).get_issues(since=HOUR).available
        assert time.monotonic() - started < LIMIT_SECONDS + 1

    def test_down(self) -> None:
        assert "did not answer" in str(sentry("http://127.0.0.1:1").get_issues(since=HOUR).error)

    def test_not_configured(self) -> None:
        assert "set sentry.token" in str(sentry("http://127.0.0.1:1", None).get_issues(since=HOUR).error)

    def test_token_is_a_secret(self) -> None:
        """It is among the values that no record may hold."""
        settings = Settings(sentry=SentrySettings(token=SecretStr(TOKEN)))
        assert TOKEN in settings.secret_values()


class TestStatusPages:
    def test_all_is_well(self, outside: Outside) -> None:
        found = pages(outside.url).get_pages().require()
        assert found["indicator"].tolist() == ["none"] * 4
        assert (found["error"] == "").all()

    def test_outage_is_told_of_the_page_that_has_it(self, outside: Outside) -> None:
        outside.fail("status-pages", fault="outage", page="oanda", impact="critical")
        found = pages(outside.url).get_pages().require().set_index("page")
        assert found["indicator"].to_dict() == {
            "twelvedata": "none",
            "oanda": "critical",
            "aws": "none",
            "cloudflare": "none",
        }
        assert "v20 REST API" in found.loc["oanda", "troubles"]

    @pytest.mark.parametrize("fault", ["unauthorized", "rate-limit", "malformed", "silent"])
    def test_one_that_does_not_answer_hides_no_other(self, outside: Outside, fault: str) -> None:
        outside.fail("status-pages", fault=fault, page="aws")
        found = pages(outside.url).get_pages().require().set_index("page")
        assert "look at" in found.loc["aws", "error"]
        assert (found.drop("aws")["indicator"] == "none").all()

    def test_something_that_is_no_status_page(self, outside: Outside) -> None:
        found = pages(outside.url, "oanda", "nothing").get_pages().require().set_index("page")
        assert "no such page" in found.loc["nothing", "error"]

    def test_none_that_answers_is_unavailable(self) -> None:
        assert not pages("http://127.0.0.1:1").get_pages().available

    def test_none_configured(self) -> None:
        assert "set status_pages" in str(StatusPagesSource({}, limit_seconds=1, limit_rows=9).get_pages().error)

    def test_those_of_the_playbook_are_the_default(self) -> None:
        assert set(Settings().status_pages) == set(STATUS_PAGES) == {"TwelveData", "OANDA", "AWS", "Cloudflare"}


@pytest.mark.parametrize(
    ("components", "incidents", "expected"),
    [
        ([], [], "none"),
        ([("API", "operational")], [], "none"),
        ([("API", "degraded_performance")], [], "minor"),
        ([("API", "partial_outage"), ("Web", "major_outage")], [], "critical"),
        ([("API", "under_maintenance")], [], "maintenance"),
        ([], [("Elevated errors", "major")], "major"),
        ([("API", "something_new")], [], "minor"),
    ],
)
def test_worst_word_counts(components: list[Any], incidents: list[Any], expected: str) -> None:
    """Also where the page's own indicator still says that all is well."""
    summary = {
        "status": {"indicator": "none", "description": "All Systems Operational"},
        "components": [{"name": name, "status": status} for name, status in components],
        "incidents": [{"name": name, "status": "identified", "impact": impact} for name, impact in incidents],
    }
    assert parse_summary(summary)["indicator"] == expected

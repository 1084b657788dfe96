"""The page stands alone: nothing is loaded, nothing runs, nothing is taken for markup that is not."""

from __future__ import annotations

import re
import time

import pytest
from record_bench import Bench, confirmed, read, shows, verdict

from flowrex_ops.cli.report import summary
from flowrex_ops.model import Severity
from flowrex_ops.record.page import render_page

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with a chart, a table, a stream, an error and hostile text."""
    finding = confirmed()
    finding["finding"]["title"] = finding["reason"] = HOSTILE
    result = Bench(tmp_path_factory.mktemp("page")).run(
        shows(finding),
        "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
        f"import pandas as pd; display(pd.DataFrame({{'query': [{HOSTILE!r}]}})); print({HOSTILE!r})",
        f"raise ValueError({HOSTILE!r})",
    )
    return result.html.read_text()


class TestPage:
    """One file that any browser shows."""

    def test_it_loads_nothing_and_runs_nothing(self, page: str) -> None:
        assert "default-src 'none'" in page
        assert re.findall(r"<script|<link|<iframe|@import|url\(", page) == []
        assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []

    def test_what_came_from_outside_is_escaped(self, page: str) -> None:
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page

    def test_verdict_is_on_top_and_code_is_folded_away(self, page: str) -> None:
        assert page.index('class="severity P1"') < page.index("<main>")
        assert page.count("<details>") == page.count("<summary>") >= 4
        assert "data:image/png;base64," in page
        assert 'href="#Step-1"' in page

    @pytest.mark.parametrize(("reason", "leads"), [("five of them", 1), ("db.idle-in-transaction it is", 0)])
    def test_the_reason_stands_below_the_title_unless_it_is_the_title(
        self, bench: Bench, reason: str, leads: int
    ) -> None:
        finding = confirmed()
        finding["reason"] = finding["finding"]["reason"] = reason
        page = bench.run(shows(finding)).html.read_text()
        assert page.count(f'<p class="lead">{reason}</p>') == page.count('<p class="lead">') == leads

    def test_it_takes_less_than_half_a_second_of_cpu(self, bench: Bench) -> None:
        record = read(bench.run("1").record)
        started = time.process_time()
        render_page(record)
        assert time.process_time() - started < 0.5


class TestBanner:
    """The record's first cell tells the same to whoever opens the notebook."""

    def test_banner_means_nothing_but_itself(self, bench: Bench) -> None:
        finding = confirmed()
        finding["reason"] = "a | b <script> `x` [l](http://y) *z*"
        banner = read(bench.run(shows(finding)).record).cells[0]
        assert banner.metadata.tags == ["flowrex-ops-banner"]
        assert banner.source.startswith("# P1 · db.idle-in-transaction it is")
        assert r"a \| b &lt;script&gt; \`x\` \[l\](http://y) \*z\*" in banner.source
        assert "**1 confirmed**" in banner.source


def test_a_moment_worse_than_the_cause_says_by_what(bench: Bench) -> None:
    """The badge is the moment's, so that its reason stands beside it."""
    found = confirmed(severity="P1")
    outcome = {"kind": "outcome", "severity": "P0", "impact": "alert FrontDoorDown: no answer"}
    result = bench.run(shows(found), shows(outcome | {"diagnosis": found["cause"]}))
    said = "P0: alert FrontDoorDown: no answer"
    assert said in result.html.read_text()
    assert said in read(result.record).cells[0].source


def test_no_cause_of_its_own_is_no_all_clear(bench: Bench) -> None:
    """Users suffer, and another runbook explains it: the page, the banner and the terminal say so, with the command to type."""
    outcome = {
        "kind": "outcome",
        "severity": "P1",
        "impact": "connection pools are full: 3 of 3 pools are full",
        "next_runbooks": ["database_connections", "error_rate"],
    }
    result = bench.run(shows(verdict("tls.expired", "ruled out")), shows(outcome))
    page, banner = result.html.read_text(), read(result.record).cells[0].source
    terminal = summary(result, verdicts_shown=True)
    command = "flowrex-ops run database_connections"
    for text in (page, banner, terminal):
        assert "3 of 3 pools are full" in text
        assert command in text
        assert "Nothing found" not in text
        assert "every hypothesis is ruled out" not in text
    assert '<header class="bad">' in page
    assert "Severity    P1: connection pools" in terminal
    assert (result.severity, result.severity_found) == (Severity.P1, None), "--fail-on counts findings"

"""The page stands alone: nothing is loaded, nothing runs, nothing is taken for markup that is not."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import pandas as pd
import pytest
from nbformat import v4
from record_bench import Bench, confirmed, read, shows, verdict

from flowrex_ops.cli.report import summary
from flowrex_ops.model import Severity
from flowrex_ops.record.page import render_page
from flowrex_ops.render import frame_html, frame_text

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
        assert page.index('class="severity P1"') < page.index('id="Step-1"')
        assert page.count("<details") == page.count("<summary>") == page.count("</details>") >= 4
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


def mitigation(slug: str, state: str, reason: str) -> dict[str, Any]:
    return {"kind": "mitigation", "slug": slug, "state": state, "reason": reason, "targets": []}


class TestFolding:
    """What nobody needs at once is one line, and all of it is there."""

    def test_what_is_ruled_out_is_folded_and_a_finding_is_linked_from_the_banner(self, bench: Bench) -> None:
        page = bench.run(shows(verdict("tls.expired", "ruled out")), shows(confirmed())).html.read_text()
        assert re.findall(r'<details class="fold"><summary><h2 [^>]*id="Step-1".*<code>tls.expired</code>', page)
        assert '<h2 id="Step-2">' in page
        assert '<a href="#db.idle-in-transaction">see its evidence</a>' in page
        assert '<span id="db.idle-in-transaction">' in page

    def test_what_is_not_known_or_failed_stays_open(self, bench: Bench) -> None:
        ruled_out = shows(verdict("tls.expired", "ruled out"))
        page = bench.run(shows(verdict("db.unreachable", "inconclusive")), f"{ruled_out}; 1/0").html.read_text()
        assert '<h2 id="Step-1">' in page
        assert '<h2 id="Step-2">' in page

    def test_what_did_not_run_is_folded(self, bench: Bench) -> None:
        page = bench.run("1/0", "1").html.read_text()
        assert re.findall(r'<summary><h2 [^>]*id="Step-2".*did not run', page)

    def test_the_hypotheses_stand_once(self, bench: Bench) -> None:
        """At the top; the live table below them says the same."""
        quiet = "class I:\n    def show_verdicts(self): display({'text/html': '<table>again</table>'}, raw=True)\n"
        page = bench.run(shows(confirmed()), f"{quiet}I().show_verdicts()").html.read_text()
        assert page.count("<td>5 sessions</td>") == 1
        assert "again</table>" not in page
        assert '<a href="#hypotheses">' in page

    def test_refused_mitigations_are_folded_unless_somebody_approved_them(self, bench: Bench) -> None:
        cells = [shows(mitigation(slug, "refused", f"why not {slug}")) for slug in ("one", "two")]
        record = read(bench.run(*cells).record)
        record["metadata"]["flowrex_ops"]["record"]["parameters"]["approve"] = ["two@1234"]
        page = render_page(record)
        assert re.findall(r'<summary><span class="pill refused">refused</span> <code>one</code></summary>', page)
        assert page.index("why not two") < page.index("why not one")


def test_what_a_reason_says_beyond_the_title_stands_below_it(bench: Bench) -> None:
    """Nobody reads the same numbers twice."""
    finding = confirmed()
    finding["reason"] = "db.idle-in-transaction it is (5 of 6)"
    assert '<p class="lead">5 of 6</p>' in bench.run(shows(finding)).html.read_text()


def test_tables_are_scrolled_by_themselves_and_have_no_empty_heads(bench: Bench) -> None:
    """For a keyboard, and for who hears the page."""
    wide = "<table><tr><td>1</td><td>2</td><td>3</td></tr></table>"
    record = read(bench.run(f"display({{'text/html': '{wide}'}}, raw=True)").record)
    record.cells.append(v4.new_markdown_cell("| | |\n|---|---|\n| Alerts | none |"))
    page = render_page(record)
    assert f'<div class="scroll" tabindex="0" role="group" aria-label="table">{wide}</div>' in page
    assert page.count('class="scroll"') == 1
    assert "<td>Alerts</td>" in page
    assert "<th" not in page


class TestTables:
    """Rows in a notebook and on its page."""

    def test_rows_beyond_twelve_are_folded_and_numbers_stand_right(self) -> None:
        html = frame_html(
            pd.DataFrame({"pid": range(70), "state": "idle", "share": "4.5%", "address": "10.0.0.1"}),
            evidence="all.csv",
        )
        seen, _, folded = html.partition("<details>")
        assert (seen.count("<tr>"), folded.count("<tr>")) == (13, 39)
        assert "<summary>38 more rows; all 70 in <code>all.csv</code></summary>" in folded
        assert "<th style='text-align:right'>pid</th><th style='text-align:left'>state</th>" in seen
        assert "<td style='text-align:right'>7</td><td style='text-align:left'>idle</td>" in seen
        assert "<td style='text-align:right'>4.5%</td><td style='text-align:left'>10.0.0.1</td>" in seen

    def test_what_a_chart_has_shown_is_folded_and_names_stand_on_one_line(self) -> None:
        html = frame_html(pd.DataFrame({"item": ["backend-1"], "answer": ["ready"]}), evidence="all.csv", shown=0)
        assert html.startswith("<details><summary>as a table; all 1 in <code>all.csv</code></summary>")
        assert "white-space:nowrap'>backend-1</td>" in html

    def test_no_rows_are_said_in_words(self) -> None:
        """Not by pandas' own word for it, in either form."""
        assert frame_text(pd.DataFrame(columns=["gid"])) == "No rows."
        assert frame_html(pd.DataFrame(columns=["gid"])) == "<p>No rows.</p>"

    def test_sql_is_short_and_whole_where_one_points_at_it(self) -> None:
        sql = f"SELECT {'a, ' * 30}b FROM orders WHERE note = 'x'"
        html = frame_html(pd.DataFrame({"query": [sql], "says": ["a sentence of prose " * 5]}))
        assert f"title='{escape(sql)}'>{sql[:60].rstrip()} …</td>" in html
        assert "a sentence of prose " * 5 in html


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
        "notify": "On-call engineer immediately, Team lead by 04:27 UTC",
        "next_runbooks": ["database_connections", "error_rate"],
    }
    result = bench.run(shows(verdict("tls.expired", "ruled out")), shows(outcome))
    page, banner = result.html.read_text(), read(result.record).cells[0].source
    terminal = summary(result, verdicts_shown=True)
    command = "flowrex-ops run database_connections"
    for text in (page, banner, terminal):
        assert "3 of 3 pools are full" in text
        assert "On-call engineer immediately, Team lead by 04:27 UTC" in text
        assert command in text
        assert "Nothing found" not in text
        assert "every hypothesis is ruled out" not in text
    assert '<header class="bad">' in page
    assert "Severity    P1: connection pools" in terminal
    assert "Notify      On-call engineer immediately" in terminal
    assert (result.severity, result.severity_found) == (Severity.P1, None), "--fail-on counts findings"

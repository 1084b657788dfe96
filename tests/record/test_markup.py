"""What a cell says is on the page as it was meant, and swallows nothing of what follows."""

from __future__ import annotations

import pytest

from flowrex_ops.record.markup import ansi, markdown, rich


def test_prose_has_anchors_tables_and_coloured_code() -> None:
    said = markdown(
        "## The `pool` & more\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n\n```\nplain\n```\n"
    )
    assert '<h2 id="The-pool-&amp;-more">The <code>pool</code> &amp; more</h2>' in said
    assert "<td>2</td>" in said
    assert '<span class="n">x</span>' in said
    assert "<pre><code>plain\n</code></pre>" in said


def test_a_bar_in_a_table_is_one_in_code_too() -> None:
    """Else who copies the command pipes nothing."""
    assert "<code>ps aux | head</code>" in markdown("| do |\n|---|\n| `ps aux \\| head` |\n")


def test_a_terminals_colours_are_classes_and_its_other_commands_are_gone() -> None:
    assert ansi("\x1b[1;31mKeyError\x1b[0m: <b> \x1b[2Kend") == (
        '<span class="ansi-bold ansi-red-fg">KeyError</span>: &lt;b&gt; end'
    )
    assert ansi("\x1b[38;5;31mone of 256\x1b[39m \x1b[94mbright") == (
        'one of 256 <span class="ansi-blue-intense-fg">bright</span>'
    )


@pytest.mark.parametrize("html", ["<p>a<br>b", "<ul><li>a<li>b</ul>", "<svg><path d='1'/></svg>", "1 < 2"])
def test_html_that_is_whole_stays_html(html: str) -> None:
    assert rich(html) == html


@pytest.mark.parametrize("html", ["<!-- a", "</main>", "<details><b>x</details>", "<b><i>x</b></i>", "<style>*{}"])
def test_html_that_would_swallow_what_follows_is_text(html: str) -> None:
    assert rich(html).startswith("<pre>")
    assert "<pre>" + html not in rich(html)

"""Count the lines of code and hold each room to its budget: ``python tools/size.py``; part of ``make lint``.

A line of code holds code: no blank, no comment, no docstring. The formatter decides how much a line may hold. The budgets are
what the rooms take now, rounded up (the last thousands are the causes that docs/coverage.md asked for, with what node_exporter tells of machines and what the broker's books and a chat say, copied files in
place of a site, and in tests the kills and lies of docs/reliability.md, the benchmarks beside papermill and the captures of the foreign platform; then prices that stand still, names that do not resolve, logins that are refused, what runs beside what is configured, orders that run away, caches that find nothing, clients that come back at once, jobs that overlap, and tickets; the proxy's own words and limits, and a fourth foreign platform): whoever needs more first looks what can go. Ends with 1 where one is over.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_LINES = {"flowrex_ops": 32_625, "flowrex_sandbox": 6_830, "tests": 26_615}
_FILES = {"flowrex_ops": 316}
_FOLDER = 2_750
_EMPTY = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count(source: str) -> int:
    """The lines of code in *source*."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _EMPTY:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def main() -> int:
    """Print a line a room; 1 where a budget is broken."""
    over = []
    for room, budget in _LINES.items():
        folders: Counter[str] = Counter()
        files = sorted(Path(room).rglob("*.py"))
        for file in files:
            folders[str(file.parent)] += count(file.read_text(encoding="utf-8"))
        total = sum(folders.values())
        largest, lines = folders.most_common(1)[0]
        print(  # noqa: T201  (its output)
            f"{room}: {total} lines of code of {budget}, {len(files)} files; the largest folder is {largest} with {lines}"
        )
        over += [room] if total > budget or len(files) > _FILES.get(room, len(files)) or lines > _FOLDER else []
    if over:
        print(  # noqa: T201  (its output)
            f"too large: {', '.join(over)}; take something out, or say in tools/size.py why it must be", file=sys.stderr
        )
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())

"""No secret reaches disk, at any moment, by any door."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

from record_bench import Bench, confirmed, read, shows

from flowrex_ops.record.events import Event

SECRET = "kettle/&blue+moon-4711"
LEAKS = (
    f"secret = {SECRET!r}; print(secret)",
    "import sys; print(f'POSTGRES_PASSWORD={secret[::-1]}', file=sys.stderr)",
    "import base64; base64.b64encode(('user:' + secret).encode()).decode()",
    "for part in (secret[:9], secret[9:]):\n    print(part, end='', flush=True)\n    __import__('time').sleep(0.3)",
    "display({'text/html': f'<b>{secret}</b>', 'text/plain': repr({secret: [secret]})}, raw=True)",
    "import pandas as pd; pd.DataFrame({'dsn': [f'postgresql://app:{secret}@db:5432/flowrex?application_name=x']})",
    "import logging; logging.warning('card 4111%s, token ghp_%s', ' 1111' * 3, 'a1' * 18)",
    shows({"kind": "reading", "source": "x", "what": f"dsn {SECRET}", "error": None}),
    "def connect(dsn):\n    raise ConnectionError(f'cannot connect to {dsn}')\nconnect('redis://:' + secret + '@cache')",
)
PREFIXED = ("db_password", "client_secret", "x-api-key", "AWS_SECRET_ACCESS_KEY")
FORBIDDEN = tuple(
    form.encode()
    for form in (
        SECRET,
        SECRET[::-1],
        quote(SECRET, safe=""),
        base64.b64encode(("user:" + SECRET).encode()).decode(),
        "4111 1111 1111 1111",
        "a1" * 18,
        "&amp;blue+moon",
        "blue+moon-4711",
    )
)


def leaks(folder: Path) -> list[str]:
    """Which forbidden forms stand in which files under *folder* now, temporary files too."""
    found = []
    for path in folder.rglob("*"):
        try:
            raw = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found += [f"{path.name}: {form!r}" for form in FORBIDDEN if form in raw]
    return found


class TestRun:
    """A notebook that prints, displays, logs and raises a secret."""

    def test_nothing_leaks_at_any_moment(self, bench: Bench) -> None:
        seen: set[str] = set()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.002):
                seen.update(leaks(bench.outputs))

        def look(_event: Event) -> None:
            seen.update(leaks(bench.outputs))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        parameters = {"settings": SECRET, "operator": f"me {SECRET}"}
        try:
            result = bench.run(*LEAKS, secrets=(SECRET, SECRET[::-1]), parameters=parameters, on_event=look)
        finally:
            over.set()
            watcher.join()

        seen.update(leaks(bench.outputs))
        assert seen == set()
        assert result.status == "failed"
        assert "[redacted:" in (result.reason or "")
        assert SECRET not in str(result.to_json())

    def test_secret_under_a_prefixed_key_is_in_no_file(self, bench: Bench) -> None:
        """No setting names it: the key alone gives it away, in printed text, a table, a payload and a traceback."""
        members = {name: f"{word}-sesame" for name, word in zip(PREFIXED, ("one", "two", "three", "four"), strict=True)}
        result = bench.run(
            f"import json; members = json.loads({json.dumps(json.dumps(members))}); print(json.dumps(members))",
            "print(members)\nfor name, value in members.items():\n    print(f'{name}={value}')",
            "display({'application/json': members, 'text/plain': repr(members)}, raw=True)",
            "raise ValueError(json.dumps(members))",
        )
        found = [path.name for path in result.record.parent.iterdir() if b"sesame" in path.read_bytes()]
        assert found == []
        assert [name for name in PREFIXED if name not in result.html.read_text()] == []

    def test_what_is_not_secret_is_still_there(self, bench: Bench) -> None:
        result = bench.run(*LEAKS, secrets=(SECRET,))
        text = result.record.read_text()
        assert "@db:5432/flowrex?application_name=x" in text
        assert "ConnectionError" in text
        assert "card [redacted:card-number], token [redacted:token]" in text

    def test_a_password_that_is_an_ordinary_word_does_not_break_the_record(self, bench: Bench) -> None:
        install = (
            "from flowrex_ops.redaction.kernel import install_in_kernel\n"
            "from flowrex_ops.redaction.redactor import Redactor\n"
            "install_in_kernel(Redactor(['flowrex', 'stdout', 'code']))"
        )
        result = bench.run(install, shows(confirmed()), "print('code')", secrets=("flowrex", "stdout", "code"))
        assert result.diagnosis == "db.idle-in-transaction"
        assert read(result.record).cells[-1].outputs[0].text == "[redacted:secret]\n"


class TestInKernel:
    """The same redactor inside the kernel: plain papermill writes no secret either."""

    def test_plain_papermill_writes_no_secret(self, bench: Bench) -> None:
        install = (
            "from flowrex_ops.redaction.kernel import install_in_kernel\n"
            "from flowrex_ops.redaction.redactor import Redactor\n"
            "from pathlib import Path\n"
            "secret = Path('secret').read_text()\n"
            "install_in_kernel(Redactor([secret]))"
        )
        (bench.folder / "secret").write_text(SECRET)
        straddling = LEAKS[3]
        sources = [source for source in LEAKS[1:] if source is not straddling and SECRET not in source]
        notebook, output = bench.notebook(install, *sources), bench.folder / "out" / "out.ipynb"
        output.parent.mkdir()
        command = [sys.executable, "-m", "papermill", str(notebook), str(output), "-k", "python3"]
        ran = subprocess.run(command, capture_output=True, cwd=bench.folder, check=False)

        assert leaks(output.parent) == []
        assert SECRET.encode() not in ran.stdout + ran.stderr
        assert b"ConnectionError" in output.read_bytes()

    def test_outside_a_kernel_it_does_nothing(self) -> None:
        from flowrex_ops.redaction.kernel import install_in_kernel
        from flowrex_ops.redaction.redactor import Redactor

        assert install_in_kernel(Redactor()) is False

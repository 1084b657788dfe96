"""The catalogue of runbooks, and the rules that each runbook is held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flowrex_sandbox
from flowrex_ops.catalog import NOTEBOOKS, find_runbooks, get_runbook, read_runbook
from flowrex_ops.causes import COMPOSE, causes_by_runbook, find_causes
from flowrex_ops.cli.runbook_lint import lint, read_alerts
from flowrex_ops.discovery.roles import as_named_here
from flowrex_ops.errors import NotebookError, UnknownRunbookError
from flowrex_ops.mitigations import KNOWN
from flowrex_ops.settings import Settings

PARAMETERS = """incident_id: str = ""  # a
since: str = "30m"  # b
approve: list = []  # c
operator: str = ""  # d
settings: str = ""  # e"""
USES = "f(incident_id, since, approve, operator, settings)"


def write(path: Path, *cells: tuple[str, str], **metadata: Any) -> Path:
    """A notebook of (type, text) cells; the first code cell is the parameters cell."""
    built: list[dict[str, Any]] = []
    for kind, text in cells:
        first = kind == "code" and not any(cell["cell_type"] == "code" for cell in built)
        cell: dict[str, Any] = {
            "cell_type": kind,
            "source": text,
            "metadata": {"tags": ["parameters"]} if first else {},
        }
        built.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    about = {"runbook": "sample", "title": "A sample"} | metadata
    path.write_text(
        json.dumps({"cells": built, "metadata": {"flowrex_ops": about}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


class TestCatalogue:
    def test_every_runbook_of_the_causes_is_there(self) -> None:
        """A runbook that the catalogue of causes speaks of exists as a notebook."""
        assert set(causes_by_runbook()) <= set(find_runbooks())

    @pytest.mark.parametrize("slug", find_runbooks())
    def test_every_runbook_keeps_the_rules(self, slug: str) -> None:
        """Lint finds nothing."""
        assert lint(get_runbook(slug)) == []

    def test_every_alert_has_its_rule(self, tmp_path: Path) -> None:
        """A runbook whose alert no rule fires would never be started; quotes and comments of YAML are no part of a name."""
        rules = Path(flowrex_sandbox.__file__).parent / "monitoring" / "rules.yml"
        assert [line for slug in find_runbooks() for line in lint(get_runbook(slug), read_alerts([rules]))] == []
        (tmp_path / "rules.yml").write_text(
            "groups: [{name: a}]\n  - alert: 'ServiceDown'  # gone\n    alert: FrontDoor\n"
        )
        assert lint(get_runbook("triage"), read_alerts([tmp_path / "rules.yml"])) == [
            "alert 'FrontDoorDown' has no rule, so nothing will start it"
        ]

    def test_every_cause_points_at_something_that_exists(self) -> None:
        """Next steps name known mitigations, and every cause belongs to a runbook."""
        steps = [
            step.target for cause in find_causes().values() for step in cause.next_steps if step.kind == "mitigation"
        ]
        assert set(steps) <= set(KNOWN)
        assert set(find_causes()) == {cause for causes in causes_by_runbook().values() for cause in causes}

    def test_unknown_name_suggests_the_nearest(self) -> None:
        """A slip of the finger is understood."""
        with pytest.raises(UnknownRunbookError, match="did you mean 'database_connections'"):
            get_runbook("databse_conections")

    def test_adding_a_notebook_adds_a_runbook(self, tmp_path: Path) -> None:
        """Nothing else has to be told of it."""
        write(tmp_path / "sample.ipynb", ("markdown", "# S"), ("code", PARAMETERS), alerts=["SampleHigh"])
        assert find_runbooks(tmp_path)["sample"].alerts == ("SampleHigh",)


@pytest.mark.parametrize(
    ("target", "here"),
    [
        (f"{COMPOSE} logs --tail=200 backend", f"{COMPOSE} logs --tail=200 api"),
        (f"{COMPOSE} exec nginx nginx -T", f"{COMPOSE} exec edge nginx -c /conf/edge.conf -T"),
        (f"{COMPOSE} exec redis redis-cli ping", f"{COMPOSE} exec cache redis-cli ping"),
        (
            f"{COMPOSE} logs postgres | grep -A8 'deadlock detected'",
            f"{COMPOSE} logs vault | grep -A8 'deadlock detected'",
        ),
        (f"{COMPOSE} logs --tail=100 nightly", f"{COMPOSE} logs --tail=100 nightly"),
        ("docker restart <container>", "docker restart <container>"),
        ("owner of the backend", "owner of the backend"),
    ],
)
def test_commands_name_the_services_that_are_there(target: str, here: str) -> None:
    """The catalogue speaks of the playbook's; elsewhere such a command would fail, or read another configuration than the one in force."""
    named = {"backend": "api", "postgres": "vault", "redis": "cache"}
    parts: dict[str, Any] = {part: {"service": name} for part, name in named.items()}
    parts["proxy"] = {"service": "edge", "program": ("nginx", "-c", "/conf/edge.conf")}
    assert as_named_here(target, Settings(**parts)) == here


class TestNotARunbook:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotebookError, match="does not exist"):
            read_runbook(tmp_path / "gone.ipynb")

    def test_not_json(self, tmp_path: Path) -> None:
        (tmp_path / "x.ipynb").write_text("<html>")
        with pytest.raises(NotebookError, match="is not a notebook"):
            read_runbook(tmp_path / "x.ipynb")

    @pytest.mark.parametrize("text", ["[]", '{"cells": 3}', '{"cells": ["x"]}', "{}", '"x"', "null"])
    def test_json_that_is_no_notebook(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.ipynb").write_text(text)
        with pytest.raises(NotebookError, match="is not a notebook"):
            read_runbook(tmp_path / "x.ipynb")

    def test_no_parameters_cell(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.ipynb", ("markdown", "# only prose"))
        with pytest.raises(NotebookError, match="has no parameters cell; tag the cell"):
            read_runbook(path)

    def test_no_metadata(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.ipynb", ("code", PARAMETERS), runbook="")
        with pytest.raises(NotebookError, match=r"metadata\.flowrex_ops needs"):
            read_runbook(path)

    @pytest.mark.parametrize(
        ("cell", "words"),
        [
            ("x = 1", "is not 'name: type = default'"),
            ("x: dict = {}", "is a dict"),
            ("x: float = 1 / 2", "plain value"),
            ("x:", "not Python"),
        ],
    )
    def test_parameters_that_are_no_typed_defaults(self, tmp_path: Path, cell: str, words: str) -> None:
        runbook = read_runbook(write(tmp_path / "x.ipynb", ("code", cell)))
        with pytest.raises(NotebookError, match=words):
            _ = runbook.parameters

    def test_one_that_is_broken_costs_only_itself(self, tmp_path: Path) -> None:
        """The others are found, and it is named; asked for by its name it says what it lacks."""
        write(tmp_path / "good.ipynb", ("code", "x: int = 1"))
        (tmp_path / "cut_off.ipynb").write_text('{"cells": [', encoding="utf-8")
        write(tmp_path / "odd.ipynb", ("code", "x = 1"))
        broken: dict[Path, NotebookError] = {}
        assert list(find_runbooks(tmp_path, broken)) == ["sample"]
        assert [path.name for path in broken] == ["cut_off.ipynb", "odd.ipynb"]
        with pytest.raises(NotebookError, match=r"cut_off.*is not a notebook"):
            get_runbook("cut_off", tmp_path)


BREACHES = {
    "defines a function": "def f(): pass",
    "defines a class": "class A: pass",
    "loops": "for x in []: pass",
    "catches errors": "try:\n    pass\nexcept ValueError:\n    pass",
    "prints": "print(1)",
    "is not plain Python": "!docker ps",
    "'nowhere' is never defined": "nowhere",
    "has 6 statements": "1\n2\n3\n4\n5\n6",
    "mitigates beside other work": "f\nf.mitigate('rolling-restart')",
    "reaches into investigation.settings.contacts": "investigation = f\ninvestigation.settings.contacts",
    "'drop-database' is not a mitigation": "f.mitigate('drop-database')",
    "reads, and no 'Manual command' stands above it": "investigation = f\ninvestigation.redis.get_memory()",
}


class TestLint:
    @pytest.mark.parametrize("breach", BREACHES)
    def test_names_each_breach(self, tmp_path: Path, breach: str) -> None:
        """One cell breaks one rule, and lint says which."""
        cells = [
            ("markdown", "# S"),
            ("code", PARAMETERS),
            ("markdown", "p"),
            ("code", f"f = open\n{USES}"),
            ("markdown", "p"),
            ("code", BREACHES[breach]),
        ]
        problems = lint(read_runbook(write(tmp_path / "x.ipynb", *cells)))
        assert len(problems) == 1, problems
        assert breach in problems[0]

    def test_imports_stand_in_one_cell(self, tmp_path: Path) -> None:
        """Whoever reads the first of them knows what the notebook uses."""
        cells = [("markdown", "# S"), ("code", PARAMETERS), ("markdown", "p"), ("code", f"f = open\nimport os\n{USES}")]
        path = write(tmp_path / "x.ipynb", *cells, ("markdown", "p"), ("code", "import sys\nsys, os"))
        assert lint(read_runbook(path)) == ["cell 5: imports; the first cell that does is the place for it"]

    def test_names_what_is_missing(self, tmp_path: Path) -> None:
        """Prose, comments, common parameters, uses, targets of links."""
        path = write(tmp_path / "x.ipynb", ("code", "pause_seconds: float = 1.0"), ("markdown", "[next](gone.ipynb)"))
        problems = "\n".join(lint(read_runbook(path)))
        for words in (
            "has no prose before it",
            "has no comment",
            "lacks incident_id",
            "is never used",
            "links to 'gone.ipynb'",
        ):
            assert words in problems

    def test_cause_of_the_catalogue_that_is_never_checked(self, tmp_path: Path) -> None:
        """A runbook that promises causes must check them, and say how severe the moment is."""
        cells = [("markdown", "# S"), ("code", PARAMETERS), ("markdown", "p"), ("code", f"f = open\n{USES}")]
        path = write(tmp_path / "x.ipynb", *cells, runbook="database_connections")
        problems = lint(read_runbook(path))
        assert "cause 'db.unreachable' is never checked" in problems
        assert "never says how severe it is for users; call survey.assess_impact" in problems


def test_notebooks_are_found_from_anywhere() -> None:
    """The folder does not depend on where the command is called."""
    assert NOTEBOOKS.is_absolute()

"""A plan is held against what there is before anything starts; what is wrong is named with its line."""

from __future__ import annotations

import pytest
from batch_bench import Yard
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrex_ops.batch.plan import PlanError, Task, expand, plan_runbooks, read_plan

BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty; write 'runs:'"),
    "not YAML": ("runs: [\n  a: b: c", "is not YAML"),
    "a list": ("- triage", "line 1: 'the plan' is wrong"),
    "no runs": ("name: nightly", "line 1: 'runs' is missing; add it"),
    "runs of another kind": ("name: x\nruns: triage", "line 2: 'runs' is wrong"),
    "unknown member": ("runs:\n  - runbook: triage\n    paramters: {}", "line 3: 'runs.0.paramters' is not a member"),
    "a key twice": ("runs:\n  - runbook: triage\nruns: []", "line 3: 'runs' stands there twice"),
    "no job": ("jobs: 0\nruns: [{runbook: triage}]", "line 1: 'jobs' is wrong"),
    "a name that is a path": ("name: ../x\nruns: [{runbook: triage}]", "line 1: 'name' is wrong"),
    "a matrix without values": (
        "runs:\n  - runbook: triage\n    matrix:\n      since: []",
        "line 4: 'runs.0.matrix.since' is wrong",
    ),
    "an alias to itself": ("runs: &a\n  - *a", "is wrong"),
    "a Python object": ("runs: !!python/object:os.system x", "is not YAML"),
    "unknown runbook": ("runs: [{runbook: triag}]", "run 1 (triag): 'triag' is not a runbook; did you mean 'triage'?"),
    "missing notebook": ("runs: [{runbook: gone.ipynb}]", "does not exist"),
    "unknown platform": (
        "runs: [{runbook: triage, platforms: [moon]}]",
        "platforms: 'moon' is not one of the plan's; there are default",
    ),
    "missing settings": ("platforms: {a: gone.toml}\nruns: [{runbook: triage}]", "platforms.a: settings file"),
    "unknown parameter": (
        "runs:\n  - runbook: triage\n  - runbook: pool.ipynb\n    parameters: {sinc: 1h}",
        "run 2 (pool.ipynb): 'sinc' is not a parameter of pool; did you mean 'since'?",
    ),
    "wrong parameter in a matrix": (
        "runs: [{runbook: triage, matrix: {since: [1h, soon]}}]",
        "since: 'soon' is not a span of time",
    ),
    "a parameter twice": (
        "runs: [{runbook: triage, matrix: {since: [1h]}, parameters: {since: 2h}}]",
        "'since' stands in parameters and in matrix",
    ),
    "a change": (
        "runs: [{runbook: triage, parameters: {approve: [x]}}]",
        "parameters.approve: a batch changes nothing",
    ),
}


@pytest.mark.parametrize("example", BAD)
def test_one_line_that_names_what_is_wrong(yard: Yard, example: str) -> None:
    text, words = BAD[example]
    with pytest.raises(PlanError) as caught:
        expand(read_plan(yard.plan(text)), folder=yard.folder)
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)
    assert not (yard.folder / "outputs").exists()


def test_every_combination_on_every_platform_is_a_run(yard: Yard) -> None:
    text = """
    platforms: {production: flowrex-ops.toml, staging: staging.toml}
    runs:
      - runbook: triage
      - runbook: pool.ipynb
        platforms: [staging]
        matrix: {since: [30m, 6h]}
    """
    tasks = expand(read_plan(yard.plan(text)), folder=yard.folder)
    assert [(task.slug, task.platform, dict(task.parameters)) for task in tasks] == [
        ("triage", "production", {}),
        ("triage", "staging", {}),
        ("pool", "staging", {"since": "30m"}),
        ("pool", "staging", {"since": "6h"}),
    ]
    assert tasks[1].settings == str(yard.folder / "staging.toml")


def test_runbooks_by_name_are_a_plan_with_the_settings_of_here(yard: Yard) -> None:
    (task,) = expand(plan_runbooks(["triage"]), folder=yard.folder)
    assert isinstance(task, Task)
    assert (task.platform, task.settings) == ("default", str(yard.folder / "flowrex-ops.toml"))


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=":-[]{}&*!#|>'\"\n ab\t", max_size=60))
def test_any_text_is_refused_by_its_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never by a traceback."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError):
        read_plan(path)

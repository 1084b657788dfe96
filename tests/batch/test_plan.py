"""A plan is held against what there is before anything starts; what is wrong is named with its table and key."""

from __future__ import annotations

import pytest
from batch_bench import Yard
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrex_ops.batch.plan import PlanError, expand, plan_runbooks, read_plan

TRIAGE = "[[runs]]\nrunbook = 'triage'\n"
BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "'runs': field required"),
    "not TOML": ("runs = [", "is not TOML"),
    "runs of another kind": ("runs = 'triage'", "'runs': input should be a valid tuple"),
    "unknown key": (f"{TRIAGE}paramters = {{}}", "'runs.0.paramters': extra inputs are not permitted"),
    "a key twice": (f"{TRIAGE}runbook = 'pool'", "is not TOML"),
    "no job": (f"jobs = 0\n{TRIAGE}", "'jobs': input should be greater than or equal to 1"),
    "a name that is a path": (f"name = '../x'\n{TRIAGE}", "'name': string should match pattern"),
    "a matrix without values": (
        f"{TRIAGE}matrix.since = []",
        "'runs.0.matrix.since': tuple should have at least 1 item",
    ),
    "unknown runbook": ("runs = [{runbook = 'triag'}]", "run 1 (triag): 'triag' is not a runbook; did you mean"),
    "missing notebook": ("runs = [{runbook = 'gone.ipynb'}]", "does not exist"),
    "unknown platform": (
        f"{TRIAGE}platforms = ['moon']",
        "platforms: 'moon' is not one of the plan's; there are default",
    ),
    "missing settings": (f"platforms.a = 'gone.toml'\n{TRIAGE}", "platforms.a: settings file"),
    "unknown parameter": (
        f"{TRIAGE}[[runs]]\nrunbook = 'pool.ipynb'\nparameters = {{sinc = '1h'}}",
        "run 2 (pool.ipynb): 'sinc' is not a parameter of pool; did you mean 'since'?",
    ),
    "wrong parameter in a matrix": (f"{TRIAGE}matrix.since = ['1h', 'soon']", "since: 'soon' is not a span of time"),
    "a date": (f"{TRIAGE}parameters.since = 2026-01-02", "since: "),
    "a parameter twice": (
        f"{TRIAGE}matrix.since = ['1h']\nparameters.since = '2h'",
        "'since' stands in parameters and in matrix",
    ),
    "a change": (f"{TRIAGE}parameters.approve = ['x']", "parameters.approve: a batch changes nothing"),
}


@pytest.mark.parametrize("example", BAD)
def test_one_line_that_names_what_is_wrong(yard: Yard, example: str) -> None:
    text, words = BAD[example]
    with pytest.raises(PlanError) as caught:
        expand(read_plan(yard.plan(text)), folder=yard.folder)
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)
    assert not (yard.folder / "outputs").exists()


def test_a_plan_of_before_is_told_how_to_be_written_now(yard: Yard) -> None:
    with pytest.raises(PlanError, match=r"plans are TOML; write .* as '\[\[runs\]\]'"):
        read_plan(yard.folder / "nightly.yaml")


def test_every_combination_on_every_platform_is_a_run(yard: Yard) -> None:
    text = """
    platforms = {production = "flowrex-ops.toml", staging = "staging.toml"}
    [[runs]]
    runbook = "triage"
    [[runs]]
    runbook = "pool.ipynb"
    platforms = ["staging"]
    matrix = {since = ["30m", "6h"]}
    """
    jobs = expand(read_plan(yard.plan(text)), folder=yard.folder)
    assert [(job.slug, job.platform, dict(job.parameters)) for job in jobs] == [
        ("triage", "production", {}),
        ("triage", "staging", {}),
        ("pool", "staging", {"since": "30m"}),
        ("pool", "staging", {"since": "6h"}),
    ]
    assert jobs[1].settings == str(yard.folder / "staging.toml")


def test_runbooks_by_name_are_a_plan_with_the_settings_of_here(yard: Yard) -> None:
    (job,) = expand(plan_runbooks(["triage"]), folder=yard.folder)
    assert (job.platform, job.settings) == ("default", str(yard.folder / "flowrex-ops.toml"))


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="=.-[]{}#'\"\n ab\t1", max_size=60))
def test_any_text_is_refused_by_its_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never by a traceback."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError):
        read_plan(path)

"""Runbooks held to their own rules, as code is: read from the notebook's text, nothing is run."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from flowrex_ops.catalog import Runbook, changes_platform, source
from flowrex_ops.causes import causes_by_runbook, find_causes
from flowrex_ops.errors import ParameterError
from flowrex_ops.mitigations import KNOWN

MOST_STATEMENTS = 5
COMMON_PARAMETERS = ("incident_id", "since", "approve", "operator", "settings")
REVIEW_PARAMETERS = ("incident_id", "operator", "settings")
"""Of a notebook that reads an incident and not the platform: it has nothing to look back at, and nothing to approve."""
FORBIDDEN = {
    ast.FunctionDef: "defines a function",
    ast.AsyncFunctionDef: "defines a function",
    ast.ClassDef: "defines a class",
    ast.For: "loops",
    ast.While: "loops",
    ast.Try: "catches errors",
}
HEADINGS = ("Impact", "Diagnosis", "Verdict", "Mitigation", "Verification", "Communication", "Outcome")
"""Of a runbook that judges causes, in this order; whoever knows one of them finds his way in each."""
READS = re.compile(r"\binvestigation\.(?:\w+\.(?:get|sample|read)_\w+|check)\(")
ALERT = re.compile(r"""^[ -]*alert:[ ]*["']?([^"'#\s]+)""", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def read_alerts(rules: Collection[Path]) -> set[str]:
    """The alerts of Prometheus' rule files (configuration/alerting_rules); ParameterError where one cannot be read."""
    try:
        return {alert for file in rules for alert in ALERT.findall(file.read_text(encoding="utf-8"))}
    except (OSError, UnicodeError) as error:
        raise ParameterError(f"the rule file cannot be read: {error}; --rules takes Prometheus' own") from None


def lint(runbook: Runbook, alerts: Collection[str] | None = None) -> list[str]:
    """What is wrong with *runbook*, one line each; empty when nothing is. *alerts*: those for which there are rules, if known."""
    missing = [alert for alert in runbook.alerts if alerts is not None and alert not in alerts]
    problems = [f"alert '{alert}' has no rule, so nothing will start it" for alert in missing]
    problems += [*_structure(runbook), *_story(runbook), *_links(runbook)]
    code = [(number, cell) for number, cell in enumerate(runbook.document["cells"]) if cell["cell_type"] == "code"]
    trees = {}
    for number, cell in code:
        try:
            trees[number] = ast.parse(source(cell))
        except SyntaxError as error:
            problems.append(f"cell {number}: is not plain Python: {error.msg}")
        if changes_platform(cell) and len(trees[number].body if number in trees else ()) > 1:
            problems.append(
                f"cell {number}: mitigates beside other work; only the change may take the run's whole time"
            )
    imports = [
        number for number, tree in trees.items() if any(isinstance(n, ast.Import | ast.ImportFrom) for n in tree.body)
    ]
    problems += [f"cell {number}: imports; the first cell that does is the place for it" for number in imports[1:]]
    for number, tree in trees.items():
        problems += [f"cell {number}: {problem}" for problem in _manners(tree)]
    whole = ast.Module([node for tree in trees.values() for node in tree.body], [])
    return problems + list(_names(runbook, whole)) + list(_causes(runbook, whole)) + list(_mitigations(whole))


def _structure(runbook: Runbook) -> Iterator[str]:
    cells = runbook.document["cells"]
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"cell {number}: is committed with outputs; run nbstripout"
        if number == 0 or cells[number - 1]["cell_type"] != "markdown":
            yield f"cell {number}: has no prose before it"
    common = REVIEW_PARAMETERS if runbook.reads_incident else COMMON_PARAMETERS
    missing = [name for name in common if name not in {p.name for p in runbook.parameters}]
    if missing:
        yield f"parameters: lacks {', '.join(missing)}, which every runbook takes"
    for parameter in runbook.parameters:
        if not parameter.help:
            yield f"parameters: '{parameter.name}' has no comment"


def _story(runbook: Runbook) -> Iterator[str]:
    """Whoever reads it without this tool can still work: every reading has its command beside it."""
    above = ""
    for number, cell in enumerate(runbook.document["cells"]):
        text = source(cell)
        if cell["cell_type"] == "markdown":
            above = text if re.search(r"^#{1,3} ", text, re.MULTILINE) else f"{above}\n{text}"
        elif READS.search(text) and "Manual command" not in above:
            yield f"cell {number}: reads, and no 'Manual command' stands above it"
    if runbook.slug in causes_by_runbook():
        found = [
            line[3:] for cell in runbook.document["cells"] for line in source(cell).splitlines() if line[:3] == "## "
        ]
        if [heading for heading in found if heading in HEADINGS] != list(HEADINGS):
            yield f"headings: needs {', '.join(HEADINGS)}, once each and in this order"


def _manners(tree: ast.Module) -> Iterator[str]:
    parameters = all(isinstance(node, ast.AnnAssign) for node in tree.body)
    if len(tree.body) > MOST_STATEMENTS and not parameters:
        yield f"has {len(tree.body)} statements; tell the story in smaller steps"
    for node in ast.walk(tree):
        if type(node) in FORBIDDEN:
            yield f"{FORBIDDEN[type(node)]}; that belongs in the library"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield "prints; let the investigation show it"
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("investigation.settings."):
            yield f"reaches into {ast.unparse(node)}; let the investigation offer it"


def _names(runbook: Runbook, whole: ast.Module) -> Iterator[str]:
    nodes = list(ast.walk(whole))
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    bound |= {a.asname or a.name for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for name in sorted(used - bound - set(dir(builtins))):
        yield f"'{name}' is never defined"
    for parameter in runbook.parameters:
        if parameter.name not in used:
            yield f"parameter '{parameter.name}' is never used"


def find_checks(whole: ast.Module) -> ModuleType | None:
    """The module that a notebook calls ``checks``; None where it judges nothing."""
    for node in ast.walk(whole):
        if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == "checks" for one in node.names):
            return import_module(f"{node.module}.checks")
    return None


def code_of(runbook: Runbook) -> ast.Module:
    """All code of a runbook that is plain Python, as one module."""
    cells = [source(cell) for cell in runbook.document["cells"] if cell["cell_type"] == "code"]
    return ast.parse("\n".join(cells))


def _causes(runbook: Runbook, whole: ast.Module) -> Iterator[str]:
    """Every cause that the catalogue gives to this runbook is checked in it."""
    promised = causes_by_runbook().get(runbook.slug, ())
    checks = find_checks(whole)
    used = {n.attr for n in ast.walk(whole) if isinstance(n, ast.Attribute) and n.attr.startswith("check_")}
    judged = {getattr(getattr(checks, name, None), "cause", None) for name in used}
    for cause in promised:
        if cause not in judged:
            yield f"cause '{cause}' is never checked"
        if not find_causes()[cause].next_steps:
            yield f"cause '{cause}' has no next step"
    if promised and not {n.attr for n in ast.walk(whole) if isinstance(n, ast.Attribute)} & {"assess", "assess_impact"}:
        yield "never says how severe it is for users; call survey.assess_impact"
    for cause in sorted(c for c in judged if c and c not in find_causes()):
        yield f"cause '{cause}' is not in the catalogue"


def _mitigations(whole: ast.Module) -> Iterator[str]:
    for node in ast.walk(whole):
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "mitigate"
        if (
            named
            and isinstance(node, ast.Call)
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value not in KNOWN
        ):
            yield f"'{node.args[0].value!s}' is not a mitigation"


def _links(runbook: Runbook) -> Iterator[str]:
    for number, cell in enumerate(runbook.document["cells"]):
        if cell["cell_type"] != "markdown":
            continue
        for target in LINK.findall(source(cell)):
            if "://" not in target and not (runbook.path.parent / target).exists():
                yield f"cell {number}: links to '{target}', which does not exist"

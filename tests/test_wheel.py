"""The wheel in an environment that holds what the wheel asks for and nothing else, used from an empty folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from conftest import import_part
from packaging.requirements import Requirement

from flowrex_ops.catalog import find_runbooks

ROOT = Path(__file__).parents[1]
NOWHERE = "unix:///nowhere/docker.sock"


@dataclass(frozen=True)
class Environment:
    """A Python environment, and an empty folder to work in."""

    folder: Path
    work: Path

    @property
    def library(self) -> Path:
        return self.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of this environment, with nothing of ours around it and no Docker Engine to be found."""
        around = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_HOST": NOWHERE, **environment}
        program = str(self.folder / "bin" / command[0])
        return subprocess.run(
            [program, *command[1:]], cwd=self.work, env=around, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it from what is published: the source distribution first, the wheel from that."""
    folder = tmp_path_factory.mktemp("dist")
    _build("sdist", ROOT, folder)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    _build("wheel", folder / source.name.removesuffix(".tar.gz"), folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel and its core."""
    return _environment(wheel, tmp_path_factory.mktemp("bare"))


def _build(target: str, source: Path, to: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", to], cwd=source, check=True)


def _environment(wheel: Path, folder: Path, *extras: str) -> Environment:
    """Without a download: what the wheel requires is linked in from where this test runs, file by file."""
    made = Environment(folder / "env", folder / "work")
    made.work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.folder], check=True)
    (about,) = metadata.distributions(path=[str(wheel)])
    for distribution in _closure(about, frozenset(extras)):
        for file in distribution.files or ():
            _link(Path(str(distribution.locate_file(file))), made.library / file)
    pip = [sys.executable, "-m", "pip", "--python", made.folder / "bin" / "python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return made


def _closure(root: metadata.Distribution, extras: frozenset[str]) -> Iterator[metadata.Distribution]:
    """What *root* requires, what that requires, and so on."""
    waiting, seen = [(root, extras)], set()
    while waiting:
        distribution, wanted = waiting.pop()
        for requirement in map(Requirement, distribution.requires or ()):
            marker, key = requirement.marker, (requirement.name, frozenset(requirement.extras))
            if key in seen or (marker and not any(marker.evaluate({"extra": extra}) for extra in wanted | {""})):
                continue
            seen.add(key)
            found = metadata.distribution(requirement.name)
            waiting.append((found, key[1]))
            yield found


def _link(source: Path, target: Path) -> None:
    """The file, and its bytecode; programs are left out, since their first line names another environment."""
    target = Path(os.path.normpath(target))
    if target.parent.name == "bin" or target.exists() or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)
    if source.suffix == ".py":
        _link(Path(importlib.util.cache_from_source(str(source))), Path(importlib.util.cache_from_source(str(target))))


def _files(folder: Path) -> set[str]:
    known = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)) for path in known if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    }


class TestWheel:
    """It is whole: all that a checkout runs is in it."""

    def test_it_holds_every_file_of_the_library_and_every_runbook(self, wheel: Path) -> None:
        library = {f"flowrex_ops/{name}" for name in _files(ROOT / "flowrex_ops")}
        runbooks = {f"flowrex_ops/notebooks/{name}" for name in _files(ROOT / "notebooks")}

        held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("flowrex_ops/")}

        assert held == library | runbooks

    def test_its_runbooks_are_listed_from_any_folder(self, bare: Environment) -> None:
        said = bare.run("flowrex-ops", "runbooks", "--json")

        listed = {runbook["slug"]: Path(runbook["path"]) for runbook in json.loads(said.stdout)}
        assert list(listed) == list(find_runbooks())
        assert all(path.is_relative_to(bare.library) for path in listed.values())

    def test_a_runbook_runs_where_no_source_answers(self, bare: Environment) -> None:
        """It completes, rules nothing out, and leaves its record in the folder ``outputs`` here."""
        said = bare.run("python", "-m", "flowrex_ops", "run", "database_connections", "--json")

        result = json.loads(said.stdout)
        verdicts = {verdict["verdict"] for verdict in result["verdicts"]}
        assert (said.returncode, result["status"], verdicts) == (0, "partial", {"inconclusive"})
        assert Path(result["record"]).resolve().is_relative_to(bare.work / "outputs")


MISSING = [
    ("notebooks", "notebooks needs jupyterlab", "lab"),
    ("sandbox up", "the embedded sandbox needs supervisor", "sandbox"),
    ("drill run lock-chain", "the embedded sandbox needs supervisor", "sandbox"),
    ("serve", "serve needs starlette", "serve"),
    ("message initial latest --send", "message --send needs apprise", "notify"),
    ("batch triage --dask tcp://127.0.0.1:1", "batch --dask needs distributed", "dask"),
]


class TestMissingExtra:
    """A command that needs more than the core says in one line what to install, and does nothing."""

    @pytest.mark.parametrize(("command", "needs", "extra"), MISSING, ids=[command for command, _, _ in MISSING])
    def test_it_says_what_to_install(self, bare: Environment, command: str, needs: str, extra: str) -> None:
        before = _files(bare.work)

        said = bare.run("flowrex-ops", *command.split())

        expected = f"flowrex-ops: {needs}; install it with: pip install 'flowrex-ops[{extra}]'\n"
        assert (said.returncode, said.stderr, _files(bare.work)) == (1, expected, before)

    def test_a_url_for_the_records_needs_the_store(self, bare: Environment) -> None:
        said = bare.run("flowrex-ops", "incident", "list", FLOWREX_OPS_OUTPUTS="s3://records/production")

        expected = "flowrex-ops: outputs 's3://…' needs fsspec; install it with: pip install 'flowrex-ops[store]'\n"
        assert (said.returncode, said.stderr) == (1, expected)


@pytest.mark.browser
def test_jupyterlab_is_opened_on_copies(wheel: Path, tmp_path: Path) -> None:
    """Nobody edits the installed runbooks: ``notebooks`` copies them, and leaves alone what has run and is not kept yet."""
    import_part("jupyterlab", "JupyterLab (extra lab)")
    environment = _environment(wheel, tmp_path, "lab")
    copies = environment.work / "outputs" / "live"

    said = environment.run("flowrex-ops", "notebooks", "--version")
    ran = json.loads((copies / "triage.ipynb").read_text())
    ran["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "it ran"}]
    (copies / "triage.ipynb").write_text(json.dumps(ran))
    (copies / "procedures" / "rollback.ipynb").write_text("edited")
    environment.run("flowrex-ops", "notebooks", "--version")

    assert said.stdout.strip() == metadata.version("jupyterlab")
    assert {*_files(ROOT / "notebooks"), "start.ipynb"} <= set(_files(copies))
    assert json.loads((copies / "triage.ipynb").read_text()) == ran
    renewed = Path("procedures") / "rollback.ipynb"
    assert (copies / renewed).read_bytes() == (ROOT / "notebooks" / renewed).read_bytes()

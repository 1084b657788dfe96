"""Records in a store: sent whole, read by other machines, one writer an incident."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from conftest import import_part

from flowrex_ops.archive import timeline
from flowrex_ops.archive.folders import list_folders
from flowrex_ops.archive.incidents import new_incident, open_folder, take_run
from flowrex_ops.archive.manifest import verify, write_manifest
from flowrex_ops.archive.store import pull, push
from flowrex_ops.errors import RecordError, SettingsError
from flowrex_ops.settings import Settings, load


class Machine:
    """A machine of some name: a working copy of one store, in a folder of its own."""

    def __init__(self, url: str, folder: Path, patch: pytest.MonkeyPatch, name: str = "") -> None:
        self.settings = Settings(outputs=url).model_copy(update={"outputs": folder})
        self.outputs = folder
        self.name = name or folder.name
        self._patch = patch

    def work(self, incident: str | None, text: str) -> Path:
        """Write a record and a line into an incident, and seal it, as a run does."""
        folder = open_folder(self.outputs, incident) if incident else new_incident(self.outputs, {})
        (folder / "records").mkdir(exist_ok=True)
        (folder / "records" / f"{len(list((folder / 'records').iterdir())) + 1:03d}-{text}.ipynb").write_text(text)
        timeline.append(folder, {"kind": "note", "text": text})
        write_manifest(folder)
        return folder

    def push(self, **options: float) -> bool:
        self._patch.setattr("socket.gethostname", lambda: self.name)
        return push(self.settings, **options)

    def pull(self) -> bool:
        self._patch.setattr("socket.gethostname", lambda: self.name)
        return pull(self.settings)

    def texts(self, name: str) -> list[str]:
        return [line["text"] for line in timeline.read(self.outputs / name) if line["kind"] == "note"]

    def verified(self) -> bool:
        return not [problem for folder in self.outputs.glob("INC-*") for problem in verify(folder)]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that nobody used before."""
    return f"memory://{uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/store"


@pytest.fixture
def ada(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(url, tmp_path / "ada", monkeypatch)


@pytest.fixture
def bob(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(url, tmp_path / "bob", monkeypatch)


def write(url: str, path: str, raw: bytes) -> None:
    """Put something into the store that no machine of ours would."""
    files, root = fsspec.url_to_fs(url)
    files.pipe_file(f"{root}/{path}", raw)


class TestExchange:
    """What one machine wrote, another one reads."""

    def test_what_was_sent_is_fetched_whole(self, ada: Machine, bob: Machine) -> None:
        folder = ada.work(None, "first")
        assert ada.push()
        assert bob.pull()
        assert (bob.texts(folder.name), bob.verified()) == (["first"], True)
        assert (bob.outputs / folder.name / "records" / "001-first.ipynb").read_text() == "first"

    def test_it_grows_there_too(self, ada: Machine, bob: Machine) -> None:
        name = ada.work(None, "first").name
        for text in ("second", "third"):
            ada.push()
            bob.pull()
            ada.work(name, text)
        ada.push()
        assert bob.pull()
        assert (bob.texts(name), bob.verified()) == (["first", "second", "third"], True)

    def test_each_machine_has_a_folder_of_its_own(self, ada: Machine, bob: Machine, tmp_path: Path, url: str) -> None:
        names = {machine.name: machine.work(None, "x").name for machine in (ada, bob)}
        assert (ada.push(), bob.pull(), ada.pull()) == (True, True, True)
        files, root = fsspec.url_to_fs(url)
        sent = {tuple(str(path).split("/")[-3:-1]) for path in files.find(root) if path.endswith("/manifest.json")}
        assert sent == set(names.items())
        assert {folder.name for folder in ada.outputs.glob("INC-*")} == set(names.values())

    def test_a_machine_that_gets_another_name_goes_on_where_it_was(self, ada: Machine, bob: Machine, url: str) -> None:
        """As containers do, whose working folder stays."""
        name = ada.work(None, "first").name
        ada.push()
        ada.name = "ada-2"
        ada.work(name, "second")
        assert (ada.push(), bob.pull(), bob.texts(name)) == (True, True, ["first", "second"])
        files, root = fsspec.url_to_fs(url)
        assert [str(path).rpartition("/")[2] for path in files.ls(root, detail=False)] == ["ada"]

    def test_a_run_goes_there_too_and_is_gone_once_it_is_an_incidents(self, ada: Machine, bob: Machine) -> None:
        """Its earlier copy stays in the store, and counts no more: neither there nor here, where it would come back."""
        run = open_folder(ada.outputs, None)
        ada.work(run.name, "first")
        assert (ada.push(), bob.pull(), list_folders(bob.outputs)) == (True, True, [bob.outputs / run.name])
        incident = take_run(run, {"title": "x"}, by="ada")
        write_manifest(incident)
        assert (ada.push(), ada.pull(), bob.pull()) == (True, True, True)
        assert list_folders(bob.outputs) == [bob.outputs / incident.name]
        assert not run.exists()

    def test_another_machines_incident_is_only_read(self, ada: Machine, bob: Machine) -> None:
        folder = ada.work(None, "first")
        ada.push()
        bob.pull()
        for change in (lambda: bob.work(folder.name, "x"), lambda: timeline.append(bob.outputs / folder.name, {})):
            with pytest.raises(RecordError, match="is only read here; go on with it on 'ada', or open a new one"):
                change()
        assert bob.verified()

    def test_what_is_the_same_is_not_sent_again(self, ada: Machine, url: str) -> None:
        name = ada.work(None, "first").name
        ada.push()
        write(url, f"ada/{name}/records/001-first.ipynb", b"as it was")
        ada.work(name, "second")
        ada.push()
        files, root = fsspec.url_to_fs(url)
        assert files.cat_file(f"{root}/ada/{name}/records/001-first.ipynb") == b"as it was"
        assert files.exists(f"{root}/ada/{name}/records/002-second.ipynb")

    def test_a_local_folder_is_left_alone(self, tmp_path: Path) -> None:
        settings = Settings(outputs=tmp_path)
        open_folder(tmp_path, None)
        assert (push(settings), pull(settings), (tmp_path / timeline.STORE_STATE).exists()) == (True, True, False)


class TestTrouble:
    """It fails no command, loses nothing, and nothing that verifies is overwritten."""

    def test_dead_store_is_one_line_and_is_tried_again(
        self, ada: Machine, bob: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = ada.work(None, "first")
        with monkeypatch.context() as broken:
            broken.setattr("fsspec.implementations.memory.MemoryFileSystem.put_file", _refuse)
            broken.setattr("fsspec.implementations.local.LocalFileSystem.put_file", _refuse)
            assert not ada.push()
        (line,) = capsys.readouterr().err.splitlines()
        assert "lacks something (OSError: no route to host); the next command tries again" in line
        assert (ada.pull(), bob.pull(), bob.texts(folder.name)) == (True, True, ["first"])

    def test_store_that_never_answers_costs_its_limit(
        self, ada: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        never = threading.Event()
        monkeypatch.setattr("flowrex_ops.archive.store._Store.exchange", lambda *_, **__: never.wait(20))
        ada.work(None, "first")
        assert not ada.push(seconds=0.2)
        never.set()
        assert "did not answer in 0.2 s" in capsys.readouterr().err

    def test_what_was_interrupted_is_sent_by_the_next(
        self, ada: Machine, bob: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others do not see half of it."""
        folder = ada.work(None, "first")
        with monkeypatch.context() as broken:
            broken.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", _refuse)
            broken.setattr("fsspec.spec.AbstractFileSystem.pipe_file", _refuse)
            assert not ada.push()
        assert (bob.pull(), list(bob.outputs.glob("INC-*"))) == (True, [])
        assert (ada.push(), bob.pull(), bob.texts(folder.name)) == (True, True, ["first"])

    @pytest.mark.parametrize("harm", ["records/001-bad.ipynb", "timeline.jsonl", "manifest.json"])
    def test_damaged_incident_is_not_taken_and_keeps_no_other_from_coming(
        self, ada: Machine, bob: Machine, url: str, harm: str
    ) -> None:
        good, bad = ada.work(None, "good"), ada.work(None, "bad")
        ada.push()
        write(url, f"ada/{bad.name}/{harm}", b"changed")
        assert not bob.pull()
        assert [folder.name for folder in bob.outputs.glob("INC-*")] == [good.name]

    def test_copy_that_does_not_go_on_from_ours_replaces_nothing(self, ada: Machine, bob: Machine, url: str) -> None:
        folder = ada.work(None, "first")
        ada.push()
        bob.pull()
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()
        (folder / "incident.json").write_text("{}")
        timeline.append(folder, {"kind": "note", "text": "forged"})
        write_manifest(folder)
        for path in folder.iterdir():
            if path.is_file():
                write(url, f"ada/{folder.name}/{path.name}", path.read_bytes())
        bob.pull()
        assert (bob.texts(folder.name), bob.verified()) == (["first"], True)

    def test_two_machines_of_one_name_do_not_overwrite_each_other(
        self,
        ada: Machine,
        url: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folder = ada.work(None, "first")
        ada.push()
        other = Machine(url, tmp_path / "other", monkeypatch, name="ada")
        (other.outputs / folder.name).mkdir(parents=True)
        other.work(folder.name, "other")
        assert not other.push()
        assert (
            "the store has it of another machine with this name; give each a host name of its own"
            in capsys.readouterr().err
        )
        files, root = fsspec.url_to_fs(url)
        assert files.cat_file(f"{root}/ada/{folder.name}/timeline.jsonl") == (folder / "timeline.jsonl").read_bytes()

    @pytest.mark.parametrize("name", ["../../evil", "/etc/evil"])
    def test_manifest_that_leads_out_of_the_folder_is_refused(
        self, ada: Machine, bob: Machine, url: str, name: str
    ) -> None:
        folder = ada.work(None, "first")
        ada.push()
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": "", "bytes": 1}
        write(url, f"ada/{folder.name}/manifest.json", json.dumps(manifest).encode())
        assert (bob.pull(), list(bob.outputs.glob("INC-*"))) == (False, [])


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no route\nto host")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Moto's server on a real socket, with one bucket; its address."""
    moto = import_part("moto.server", "moto (dependency group s3)")
    with pytest.MonkeyPatch.context() as environment:
        server = moto.ThreadedMotoServer("127.0.0.1", 0)
        server.start()
        host, port = server.get_host_and_port()
        values = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
        values |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}
        for name, value in values.items():
            environment.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("records")
        yield values["AWS_ENDPOINT_URL"]
        server.stop()


class TestS3:
    """The same over S3's own protocol."""

    def test_sent_fetched_and_no_credentials_written(
        self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"s3://records/{uuid4().hex}"
        ada, bob = Machine(url, tmp_path / "ada", monkeypatch), Machine(url, tmp_path / "bob", monkeypatch)
        name = ada.work(None, "first").name
        assert (ada.push(), bob.pull()) == (True, True)
        ada.work(name, "second")
        assert (ada.push(), bob.pull(), bob.texts(name), bob.verified()) == (True, True, ["first", "second"], True)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if b"testing-secret" in path.read_bytes()] == []

    def test_missing_bucket_is_said(
        self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        machine = Machine("s3://recrods/x", tmp_path / "ada", monkeypatch)
        assert not machine.pull()
        assert "bucket does not exist" in capsys.readouterr().err


class TestSettings:
    """``outputs`` takes a folder or a URL."""

    def test_url_has_a_working_folder_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", "s3://bucket/prefix/")
        loaded = load()
        assert (loaded.outputs_url, loaded.outputs.parent) == ("s3://bucket/prefix", tmp_path / "flowrex-ops")

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("s4://bucket", "'s4://' is not a place that records can go to"),
            ("https://example.org/x", "is not a place"),
            ("s3://key:secret@bucket", "must hold no credentials"),
            ("gs://bucket", "needs the package gcsfs: install gcsfs"),
        ],
    )
    def test_wrong_ones_are_one_line(self, url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLOWREX_OPS_OUTPUTS", url)
        with pytest.raises(SettingsError) as refusal:
            load()
        assert words in str(refusal.value)
        assert "'outputs' is wrong" in str(refusal.value)
        assert "secret" not in str(refusal.value)

"""Records in a store: sent, fetched, and both kept where two machines wrote to one incident."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import import_part
from fsspec.implementations.memory import MemoryFileSystem

from flowrex_ops.archive import timeline
from flowrex_ops.archive.incidents import open_incident
from flowrex_ops.archive.manifest import verify, write_manifest
from flowrex_ops.archive.remote import pull, push
from flowrex_ops.archive.store import Store
from flowrex_ops.archive.turn import FOLDER, STALE_SECONDS, turn
from flowrex_ops.errors import RecordError, SettingsError
from flowrex_ops.settings import Settings, load


class Machine:
    """A machine: a working copy of one store, in a folder of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.settings = Settings(outputs=url).model_copy(update={"outputs": folder})
        self.outputs = folder

    def work(self, incident: str | None, text: str) -> Path:
        """Write a record and a line into an incident, and seal it, as a run does."""
        folder = open_incident(self.outputs, incident)
        (folder / "records").mkdir(exist_ok=True)
        (folder / "records" / f"{len(list((folder / 'records').iterdir())) + 1:03d}-{text}.ipynb").write_text(text)
        timeline.append(folder, {"kind": "note", "text": text})
        write_manifest(folder)
        return folder

    def texts(self, name: str) -> list[str]:
        return [line["text"] for line in timeline.read(self.outputs / name) if line["kind"] == "note"]

    def verified(self) -> bool:
        return not [problem for folder in self.outputs.glob("INC-*") for problem in verify(folder)]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that nobody used before."""
    return f"memory://{uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/store"


@pytest.fixture
def ada(url: str, tmp_path: Path) -> Machine:
    return Machine(url, tmp_path / "ada")


@pytest.fixture
def bob(url: str, tmp_path: Path) -> Machine:
    return Machine(url, tmp_path / "bob")


class TestExchange:
    """What one machine wrote, another one has."""

    def test_what_was_sent_is_fetched_whole(self, ada: Machine, bob: Machine) -> None:
        folder = ada.work(None, "first")
        assert push(folder, ada.settings)
        assert pull(bob.settings)
        assert (bob.texts(folder.name), bob.verified()) == (["first"], True)
        assert not os.access(bob.outputs / folder.name / "records" / "001-first.ipynb", os.W_OK) or os.getuid() == 0

    def test_they_take_turns(self, ada: Machine, bob: Machine) -> None:
        name = ada.work(None, "first").name
        push(ada.outputs / name, ada.settings)
        pull(bob.settings)
        push(bob.work(name, "second"), bob.settings)
        pull(ada.settings)
        push(ada.work(name, "third"), ada.settings)
        pull(bob.settings)
        assert bob.texts(name) == ada.texts(name) == ["first", "second", "third"]
        assert (ada.verified(), bob.verified(), len(list(bob.outputs.glob("INC-*")))) == (True, True, 1)

    def test_what_is_the_same_is_not_sent_again(self, ada: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = ada.work(None, "first")
        push(folder, ada.settings)
        sent: list[str] = []
        write = Store.write
        monkeypatch.setattr(Store, "write", lambda self, name, data: (sent.append(name), write(self, name, data))[1])
        push(ada.work(folder.name, "second"), ada.settings)
        assert f"{folder.name}/records/001-first.ipynb" not in sent
        assert sent[-2:-1] == [f"{folder.name}/manifest.json"], (
            "the manifest comes last, but for the hint that there is one"
        )

    def test_a_local_folder_is_left_alone(self, tmp_path: Path) -> None:
        settings = Settings(outputs=tmp_path)
        assert (push(open_incident(tmp_path, None), settings), pull(settings)) == (True, True)
        assert not (tmp_path / ".store").exists()

    def test_processes_of_one_machine_do_not_undo_one_another(self, ada: Machine, bob: Machine) -> None:
        folder = ada.work(None, "first")
        for number in range(4):
            ada.work(folder.name, f"more{number}")
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda _: push(folder, ada.settings), range(4)))
        pull(bob.settings)
        assert bob.texts(folder.name) == ada.texts(folder.name)

    def test_what_was_never_sent_goes_with_the_next(self, ada: Machine, bob: Machine) -> None:
        """Also what a live session wrote, which sends nothing itself."""
        early, late = ada.work(None, "live"), ada.work(None, "late")
        push(late, ada.settings)
        pull(bob.settings)
        assert (bob.texts(early.name), bob.texts(late.name)) == (["live"], ["late"])


class TestConflicts:
    """Neither timeline is overwritten, neither is silent."""

    def test_both_are_kept_in_the_store_and_here(
        self, ada: Machine, bob: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = ada.work(None, "first").name
        push(ada.outputs / name, ada.settings)
        pull(bob.settings)
        push(ada.work(name, "of-ada"), ada.settings)
        push(bob.work(name, "of-bob"), bob.settings)
        assert f"'{name}' was also written by another machine" in capsys.readouterr().err
        pull(bob.settings)
        pull(ada.settings)
        everything = [["first", "of-ada"], ["first", "of-bob"]]
        for machine in (ada, bob):
            found = sorted(machine.texts(folder.name) for folder in machine.outputs.glob("INC-*"))
            assert (found, machine.verified()) == (everything, True)

    def test_they_stay_apart_and_go_on(self, ada: Machine, bob: Machine) -> None:
        name = ada.work(None, "first").name
        push(ada.outputs / name, ada.settings)
        pull(bob.settings)
        for round_ in ("1", "2"):
            push(ada.work(name, f"ada{round_}"), ada.settings)
            push(bob.work(name, f"bob{round_}"), bob.settings)
            pull(ada.settings)
            pull(bob.settings)
        everything = [["first", "ada1", "ada2"], ["first", "bob1", "bob2"]]
        for machine in (ada, bob):
            assert sorted(machine.texts(folder.name) for folder in machine.outputs.glob("INC-*")) == everything

    def test_two_who_send_at_the_same_moment_lose_nothing(
        self, ada: Machine, bob: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _send_at_once(ada, bob, monkeypatch)
        _see_both(Machine(ada.settings.outputs_url, tmp_path / "eve"))

    def test_one_that_was_overwritten_sends_again(
        self, ada: Machine, bob: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A machine whose clock is wrong, or an older version, may not have waited for its turn."""
        name = ada.work(None, "first").name
        push(ada.outputs / name, ada.settings)
        pull(bob.settings)
        early = (bob.outputs / name / "timeline.jsonl").read_bytes()
        push(ada.work(name, "of-ada"), ada.settings)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "read", lambda _, wanted: early if wanted.endswith("timeline.jsonl") else None)
            push(bob.work(name, "of-bob"), bob.settings)
        pull(ada.settings)
        _see_both(Machine(ada.settings.outputs_url, tmp_path / "eve"))


class TestTurns:
    """One machine at a time sends an incident; the dead hold up nobody."""

    def test_who_waits_goes_on_when_the_other_is_done(self, url: str) -> None:
        store, order = Store(url), []
        entered, left = threading.Event(), threading.Event()

        def second() -> None:
            entered.wait(10)
            with turn(store, "INC-1", "bob", lambda: None):
                order.append("bob")

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(second)
            with turn(store, "INC-1", "ada", lambda: None):
                entered.set()
                left.wait(0.3)
                order.append("ada")
            waiting.result(10)
        assert (order, store.names(FOLDER)) == (["ada", "bob"], [])

    def test_other_incidents_do_not_wait(self, url: str) -> None:
        store = Store(url)
        with turn(store, "INC-1", "ada", lambda: None), turn(store, "INC-2", "ada", lambda: None):
            assert len(store.names(FOLDER)) == 2

    def test_waiting_has_an_end_and_leaves_nothing(self, url: str) -> None:
        store = Store(url)
        with turn(store, "INC-1", "ada", lambda: None):
            with pytest.raises(RecordError, match="too long"), turn(store, "INC-1", "bob", _too_long):
                pytest.fail("two have the turn")
            assert [name.split("-")[2] for name in store.names(FOLDER)] == ["ada"]

    @pytest.mark.parametrize("written", ["long ago", "damaged"])
    def test_claim_of_the_dead_is_taken_away(self, url: str, written: str) -> None:
        # The time is taken here: as a parameter it would give the test another name in each of the suite's workers.
        since = str(int(time.time() - STALE_SECONDS - 1)) if written == "long ago" else written
        store = Store(url)
        store.write(f"{FOLDER}/INC-1@{since}-ada-abc123", b"")
        with turn(store, "INC-1", "bob", _too_long):
            assert [name.split("-")[2] for name in store.names(FOLDER)] == ["bob"]


def _too_long() -> None:
    raise RecordError("it took too long")


def _send_at_once(ada: Machine, bob: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have written to one incident, and each looks at the store before the other has sent, if it is let."""
    name = ada.work(None, "first").name
    push(ada.outputs / name, ada.settings)
    pull(bob.settings)
    both, read = threading.Barrier(2), Store.read

    def read_with_the_other(store: Store, wanted: str) -> bytes | None:
        found = read(store, wanted)
        if wanted.endswith("timeline.jsonl"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)
        return found

    monkeypatch.setattr(Store, "read", read_with_the_other)
    folders = [ada.work(name, "of-ada"), bob.work(name, "of-bob")]
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(push, folders, [ada.settings, bob.settings]))
    monkeypatch.undo()


def _see_both(eve: Machine) -> None:
    """A third machine that fetches has what either wrote."""
    assert pull(eve.settings)
    found = sorted(eve.texts(folder.name) for folder in eve.outputs.glob("INC-*"))
    assert (found, eve.verified()) == ([["first", "of-ada"], ["first", "of-bob"]], True)


class TestTrouble:
    """A failed upload fails nothing and loses nothing; what is being written is not taken for the truth."""

    def test_dead_store_is_one_line_and_is_tried_again(
        self, ada: Machine, bob: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = ada.work(None, "first")
        with monkeypatch.context() as broken:
            broken.setattr(MemoryFileSystem, "pipe_file", _refuse)
            broken.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", _refuse)
            assert not push(folder, ada.settings)
        (line,) = capsys.readouterr().err.splitlines()
        assert "lacks something: OSError: no route to host; the next command tries again" in line
        assert pull(ada.settings)
        pull(bob.settings)
        assert bob.texts(folder.name) == ["first"]

    def test_store_that_never_answers_costs_its_limit(
        self, ada: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        never = threading.Event()
        monkeypatch.setattr(Store, "read", lambda *_: never.wait(20))
        assert not push(ada.work(None, "first"), ada.settings, seconds=0.2)
        never.set()
        assert "did not answer in 0.2 s" in capsys.readouterr().err

    def test_half_written_incident_is_not_fetched(self, ada: Machine, bob: Machine) -> None:
        folder = ada.work(None, "first")
        push(folder, ada.settings)
        Store(ada.settings.outputs_url).write(f"{folder.name}/records/001-first.ipynb", b"changed")
        assert not pull(bob.settings)
        assert list(bob.outputs.glob("*")) == []

    def test_damaged_incident_keeps_no_other_from_coming(self, ada: Machine, bob: Machine) -> None:
        good, bad = ada.work(None, "good"), ada.work(None, "bad")
        for folder in (good, bad):
            push(folder, ada.settings)
        Store(ada.settings.outputs_url).write(f"{bad.name}/timeline.jsonl", b"changed")
        assert not pull(bob.settings)
        assert bob.texts(good.name) == ["good"]

    @pytest.mark.parametrize("name", ["../../evil", "/etc/evil"])
    def test_manifest_that_leads_out_of_the_folder_is_refused(self, ada: Machine, bob: Machine, name: str) -> None:
        folder = ada.work(None, "first")
        push(folder, ada.settings)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": "", "bytes": 1}
        Store(ada.settings.outputs_url).write(f"{folder.name}/manifest.json", json.dumps(manifest).encode())
        assert not pull(bob.settings)
        assert list(bob.outputs.glob("*")) == []


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

    def test_turns_and_conflicts(self, s3: str, tmp_path: Path) -> None:
        url = f"s3://records/{uuid4().hex}"
        ada, bob = Machine(url, tmp_path / "ada"), Machine(url, tmp_path / "bob")
        name = ada.work(None, "first").name
        assert push(ada.outputs / name, ada.settings)
        assert pull(bob.settings)
        assert push(ada.work(name, "of-ada"), ada.settings)
        assert push(bob.work(name, "of-bob"), bob.settings)
        assert pull(ada.settings)
        found = sorted(ada.texts(folder.name) for folder in ada.outputs.glob("INC-*"))
        assert (found, ada.verified()) == ([["first", "of-ada"], ["first", "of-bob"]], True)

    def test_two_who_send_at_the_same_moment_lose_nothing(
        self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, bob, eve = (Machine(f"s3://records/{tmp_path.name}", tmp_path / name) for name in ("ada", "bob", "eve"))
        with monkeypatch.context() as patched:
            _send_at_once(ada, bob, patched)
        _see_both(eve)

    def test_missing_bucket_is_said(self, s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        machine = Machine("s3://recrods/x", tmp_path / "ada")
        assert not pull(machine.settings)
        assert "there is no bucket 'recrods'" in capsys.readouterr().err

    def test_no_credentials_are_written(self, s3: str, tmp_path: Path) -> None:
        machine = Machine(f"s3://records/{uuid4().hex}", tmp_path / "ada")
        push(machine.work(None, "first"), machine.settings)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if b"testing-secret" in path.read_bytes()] == []


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

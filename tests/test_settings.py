"""Settings from a file, from the environment, from secret files; and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrex_ops.errors import SettingsError
from flowrex_ops.settings import load

DSN = "postgresql://flowrex:s3cret-pw@db:5432/flowrex"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a settings file, and no variable set."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWREX_OPS_SETTINGS", "FLOWREX_OPS_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)


class TestWhereTheyComeFrom:
    def test_none_at_all_is_fine(self) -> None:
        """Defaults, and discovery later."""
        assert load().stack.kind == "compose"

    def test_file_in_this_folder(self, tmp_path: Path) -> None:
        (tmp_path / "flowrex-ops.toml").write_text('platform = "staging"')
        assert load().platform == "staging"

    def test_named_file_before_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.toml").write_text('platform = "a"')
        (tmp_path / "b.toml").write_text('platform = "b"')
        monkeypatch.setenv("FLOWREX_OPS_SETTINGS", str(tmp_path / "b.toml"))
        assert (load().platform, load(tmp_path / "a.toml").platform) == ("b", "a")

    def test_environment_before_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "flowrex-ops.toml").write_text("[limits]\nrows = 5")
        monkeypatch.setenv("FLOWREX_OPS_LIMITS__ROWS", "7")
        assert load().limits.rows == 7

    def test_secret_as_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The way Docker and Kubernetes mount secrets."""
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        (secrets / "postgres__dsn").write_text(f"{DSN}\n")
        monkeypatch.setenv("FLOWREX_OPS_SECRETS_DIR", str(secrets))
        dsn = load().postgres.dsn
        assert dsn is not None
        assert dsn.get_secret_value() == DSN


class TestSecrets:
    def test_printing_shows_none(self, tmp_path: Path) -> None:
        (tmp_path / "flowrex-ops.toml").write_text(f'[postgres]\ndsn = "{DSN}"')
        assert "s3cret-pw" not in repr(load())

    def test_password_inside_a_dsn_is_a_secret_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "flowrex-ops.toml").write_text(f'[postgres]\ndsn = "{DSN}"')
        assert set(load().secret_values()) == {DSN, "s3cret-pw"}

    def test_password_in_a_key_value_dsn(self, tmp_path: Path) -> None:
        (tmp_path / "flowrex-ops.toml").write_text('[postgres]\ndsn = "host=db password=hunter22 user=x"')
        assert "hunter22" in load().secret_values()


class TestTlsEndpoints:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("flowrex.app:8443", ("flowrex.app", 8443)),
            ("flowrex.app", ("flowrex.app", 443)),
            ("[::1]:444", ("::1", 444)),
            ("10.0.0.5:443", ("10.0.0.5", 443)),
        ],
    )
    def test_as_text(self, tmp_path: Path, text: str, expected: tuple[str, int]) -> None:
        """The short form, as everybody writes it."""
        (tmp_path / "flowrex-ops.toml").write_text(f'[tls]\nendpoints = ["{text}"]')
        endpoint = load().tls.endpoints[0]
        assert (endpoint.host, endpoint.port) == expected

    def test_as_a_table_and_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a name of its own and the file that should be served."""
        (tmp_path / "flowrex-ops.toml").write_text(
            '[tls]\nca_file = "ca.crt"\n[[tls.endpoints]]\nhost = "10.0.0.5"\nserver_name = "a.test"\ncertificate = "a.pem"'
        )
        endpoint = load().tls.endpoints[0]
        assert (endpoint.port, endpoint.server_name, endpoint.certificate) == (443, "a.test", Path("a.pem"))
        monkeypatch.setenv("FLOWREX_OPS_TLS__ENDPOINTS", '["b.test:444"]')
        assert load().tls.endpoints[0].host == "b.test"


WRONG = {
    "endpoint that is none": ("[tls]\nendpoints = ['https://flowrex.app/']", "is not host:port"),
    "port that is none": ("[tls]\nendpoints = ['flowrex.app:99999']", "'tls.endpoints.0.port' is wrong"),
    "endpoint without a host": ("[tls]\nendpoints = [{port = 443}]", "'tls.endpoints.0.host' is wrong"),
    "not TOML": ("platform = ", "is not valid TOML"),
    "unknown key": ("[postgres]\nurl = 'x'", "'postgres.url' is not a setting"),
    "wrong type": ("[limits]\nrows = 'many'", "'limits.rows' is wrong"),
    "impossible value": ("[limits]\nreading_seconds = 0", "'limits.reading_seconds' is wrong"),
    "no time zone": ("timezone = 'Mars/Olympus'", "'timezone' is wrong"),
    "unknown stack": ("[stack]\nkind = 'nomad'", "'stack.kind' is wrong"),
}


class TestWrongOnes:
    @pytest.mark.parametrize("example", WRONG)
    def test_one_line_names_file_and_key(self, tmp_path: Path, example: str) -> None:
        text, words = WRONG[example]
        (tmp_path / "flowrex-ops.toml").write_text(text)
        with pytest.raises(SettingsError) as refusal:
            load()
        assert words in str(refusal.value)
        assert "flowrex-ops.toml" in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_named_file_that_is_not_there(self) -> None:
        with pytest.raises(SettingsError, match="does not exist; correct --settings"):
            load("gone.toml")

    def test_secrets_folder_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLOWREX_OPS_SECRETS_DIR", "/no/such/folder")
        with pytest.raises(SettingsError, match="secrets folder"):
            load()


@pytest.mark.parametrize(
    "dsn", ["foo=bar baz", "postgresql://u:hush@h:notaport/x", "postgres//x", "postgresql+asyncpg://u:hush@h/x"]
)
def test_a_mistyped_dsn_is_told_before_anything_starts(dsn: str, tmp_path: Path) -> None:
    """One line that names the setting and says what it takes, without the password."""
    (tmp_path / "flowrex-ops.toml").write_text(f'[postgres]\ndsn = "{dsn}"', encoding="utf-8")
    with pytest.raises(SettingsError, match="is wrong: it is no address of PostgreSQL; write postgresql:") as reported:
        load(str(tmp_path / "flowrex-ops.toml"))
    assert "hush" not in str(reported.value)

"""NGINX's configuration changed for real: tested, reloaded, confirmed, and put back when anything goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowrex_ops.errors import MitigationRefusedError, VerificationError
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.proxy.snippets import header_of, list_managed
from flowrex_ops.settings import ProxySettings, load
from flowrex_sandbox.faults.proxy import clear_control
from flowrex_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.both_stacks

NAME = "server-test.conf"


@pytest.fixture
def proxied(any_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield any_sandbox
    clear_control(any_sandbox)


def control_of(sandbox: Sandbox, **settings: Any) -> ProxyControl:
    proxy = load(sandbox.settings_file).proxy.model_copy(update=settings)
    return ProxyControl(sandbox.stack(), proxy, command_seconds=5.0, confirm_seconds=3.0)


def snippet(text: str) -> str:
    return f"{header_of('test', 'ada')}{text}\n"


def teapot(sandbox: Sandbox) -> bool:
    return httpx.get(f"{sandbox.url}/teapot", timeout=5).status_code == 418


class TestChange:
    def test_is_in_effect_when_it_returns_and_gone_when_taken_away(self, proxied: Sandbox) -> None:
        """No old worker answers any more, and the reading says by whom it is there."""
        control = control_of(proxied)
        control.change({NAME: snippet("location = /teapot { return 418; }")}, lambda: teapot(proxied))
        assert all(teapot(proxied) for _ in range(20))
        [row] = list_managed(proxied.control)
        assert row[:3] == (NAME, "test", "ada")
        control.change({NAME: None}, lambda: not teapot(proxied))
        assert control.read() == {}
        assert not any(teapot(proxied) for _ in range(20))

    def test_refused_configuration_is_put_back_and_nginx_quoted(self, proxied: Sandbox) -> None:
        """What ``nginx -t`` refuses never reaches the running NGINX, nor stays on disk."""
        control = control_of(proxied)
        with pytest.raises(MitigationRefusedError, match=r'unknown directive "retrun".*the old configuration is back'):
            control.change({NAME: snippet("retrun 418;")}, lambda: teapot(proxied))
        assert control.read() == {}
        control.test()

    def test_without_effect_the_old_one_is_put_back(self, proxied: Sandbox) -> None:
        """The earlier snippet is in effect again, not merely the new one gone."""
        control = control_of(proxied)
        control.change({NAME: snippet("location = /teapot { return 418; }")}, lambda: teapot(proxied))
        with pytest.raises(VerificationError, match="the old configuration is back"):
            control.change({NAME: snippet("location = /other { return 418; }")}, lambda: False)
        assert "/teapot" in control.read()[NAME]
        control.reload(lambda: teapot(proxied))

    def test_ctrl_c_puts_the_old_one_back(self, proxied: Sandbox) -> None:
        """Also in the middle, while the effect is awaited."""

        def interrupted() -> bool:
            raise KeyboardInterrupt

        control = control_of(proxied)
        with pytest.raises(KeyboardInterrupt):
            control.change({NAME: snippet("location = /teapot { return 418; }")}, interrupted)
        control.reload(lambda: not teapot(proxied))
        assert control.read() == {}

    def test_configuration_broken_by_hand_beforehand(self, proxied: Sandbox) -> None:
        """Somebody's half-finished edit would take the site down at our reload; nothing is done."""
        (proxied.control / "server-by-hand.conf").write_text("return 503\n")
        with pytest.raises(MitigationRefusedError, match="broken before anything was changed"):
            control_of(proxied).change({NAME: snippet("return 418;")}, lambda: True)
        assert set(control_of(proxied).read()) == {"server-by-hand.conf"}

    def test_folder_that_nginx_does_not_include(self, proxied: Sandbox, tmp_path: Path) -> None:
        """A change without effect is refused before the reload, and says which lines are missing."""
        with pytest.raises(MitigationRefusedError, match="does not include"):
            control_of(proxied, control=tmp_path).change({NAME: snippet("")}, lambda: True)
        assert list(tmp_path.iterdir()) == []


class TestWithoutFolder:
    @pytest.mark.parametrize(("control", "said"), [(None, "has no control folder"), ("/nowhere", "is no folder")])
    def test_says_what_to_set(self, supervisor_sandbox: Sandbox, control: str | None, said: str) -> None:
        """One line that names the setting and where the include lines stand."""
        settings = ProxySettings(control=Path(control) if control else None)
        with pytest.raises(MitigationRefusedError, match=rf"{said}.*set proxy\.control"):
            _ = ProxyControl(supervisor_sandbox.stack(), settings, command_seconds=5.0).folder

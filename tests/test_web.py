"""A request ends, whatever the server does: in its time, and in bounded memory."""

from __future__ import annotations

import resource
import threading
import time

import httpx
import pytest
from lying import LIES, lying

from flowrex_ops.health_probe import ask_health
from flowrex_ops.web import get
from flowrex_sandbox.waiting import await_condition

ANSWERS = {"HTTP 500": 500, "wrong encoding": 200, "another shape": 200}


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie not in ANSWERS])
def test_a_server_that_lies_costs_its_time_limit_at_most(lie: str) -> None:
    with lying(lie) as port:
        started, held = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(httpx.TransportError) as raised:
            get(f"http://127.0.0.1:{port}/", seconds=1.0)
        assert time.monotonic() - started < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 200_000, "KiB"
        assert str(raised.value)


@pytest.mark.parametrize("lie", ANSWERS)
def test_what_it_answers_is_the_callers_to_judge(lie: str) -> None:
    with lying(lie) as port:
        assert get(f"http://127.0.0.1:{port}/", seconds=5.0).status_code == ANSWERS[lie]


def test_a_handshake_that_trickles_ends_too() -> None:
    with lying("a byte a second") as port, pytest.raises(httpx.TransportError):
        get(f"https://127.0.0.1:{port}/", seconds=1.0)


def test_nor_does_a_second_request_of_one_who_knew_the_first_path() -> None:
    """A connection that is used again is one that nobody saw opened."""
    with lying("no such path, then a byte a second") as port:
        started = time.monotonic()
        found = ask_health(f"http://127.0.0.1:{port}", "", timeout_seconds=1.0)
        assert (found.status, time.monotonic() - started < 5) == (None, True)


def test_an_answer_leaves_no_thread_behind() -> None:
    with lying("another shape") as port:
        get(f"http://127.0.0.1:{port}/", seconds=60.0)
        await_condition(
            lambda: not any(isinstance(one, threading.Timer) for one in threading.enumerate()),
            "its timer had ended",
            timeout_seconds=5,
        )

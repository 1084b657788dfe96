"""Users are served: what shows it, what is left of the trouble, and what nobody could see is said."""

from __future__ import annotations

import pytest

from flowrex_ops.errors import VerificationError
from flowrex_ops.services.served import Felt, require_served


def test_what_was_not_seen_stands_beside_what_was() -> None:
    felt = Felt(well=["all 3 replicas are ready"], unseen=["no pool gauges (no answer)"])
    assert (
        require_served(lambda: felt, next_cure="") == "all 3 replicas are ready; not seen: no pool gauges (no answer)"
    )


def test_what_is_left_names_the_next_cure() -> None:
    felt = Felt(well=["all 3 replicas are ready"], left=["the pool of backend-1 is full (5 of 5)"])
    with pytest.raises(VerificationError, match=r"users still feel it .* is full \(5 of 5\); next: restart-backend"):
        require_served(lambda: felt, next_cure="restart-backend", seconds=0.1)


def test_nothing_seen_is_not_served() -> None:
    with pytest.raises(VerificationError, match="could not be seen: no pool gauges; look by hand"):
        require_served(lambda: Felt(unseen=["no pool gauges"]), next_cure="", seconds=0.1)


@pytest.mark.parametrize(
    ("felt", "said"),
    [
        (Felt(well=["all 3 replicas are ready"]), "healthy again: all 3 replicas are ready"),
        (
            Felt(well=["all 3 replicas are ready"], unseen=["no pool gauges"]),
            "healthy again: all 3 replicas are ready; not seen: no pool gauges",
        ),
        (
            Felt(well=["none of 3 pools is full"], left=["backend-1 is not ready"]),
            "not healthy yet: backend-1 is not ready",
        ),
        (
            Felt(unseen=["no replica tells whether it is ready"]),
            "not known: not seen: no replica tells whether it is ready",
        ),
    ],
)
def test_healthy_again_not_yet_or_not_known(felt: Felt, said: str) -> None:
    """Of what is left one thing is enough; what nobody can see is not healthy."""
    assert str(felt) == said

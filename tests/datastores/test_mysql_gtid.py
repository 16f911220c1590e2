"""GTID sets: transactions of one server that another one lacks."""

from __future__ import annotations

import pytest

from agent.datastores.mysql.gtid import after_forks, count, forks, missing, sources, state_of, text_of


def test_state_keeps_the_furthest_of_each_server_and_domain() -> None:
    state = state_of("0-1-5,0-2-7", None, "0-1-9, 1-1-3")
    assert text_of(state) == "0-1-9,0-2-7,1-1-3"


@pytest.mark.parametrize(
    "here, there, lost, behind",
    [
        ("0-1-5", "0-1-5", "", 0),
        ("0-1-5", "0-1-9", "", 4),
        ("0-1-9", "0-1-5,0-2-8", "0-1-9", 3),
        ("0-3-200,0-1-500", "0-1-500,0-2-510", "", 10),  # an earlier primary that the other has forgotten
        ("0-1-5,7-3-4", "0-1-5", "7-3-4", 0),  # a second source
        ("", "0-1-5", "", 5),
        ("0-9-3", "0-1-5", "0-9-3", 5),
    ],
)
def test_only_transactions_after_the_last_common_one_are_lost(here: str, there: str, lost: str, behind: int) -> None:
    assert text_of(after_forks(state_of(here), state_of(there))) == lost
    assert missing(state_of(here), state_of(there)) == behind


def test_fork_is_the_last_common_transaction_of_a_domain() -> None:
    assert forks(state_of("0-1-9,1-1-2"), state_of("0-1-5,0-2-8")) == {0: (1, 5)}


def test_transactions_of_a_set_are_counted_with_tags_and_lines() -> None:
    assert count("") == 0
    assert count("8bae4c97-e9ad-11f1-91c2-02fc00000001:1-14") == 14
    assert count("8bae4c97-e9ad-11f1-91c2-02fc00000001:1-3:5:tag:7-8,\n902607f9-e9ad-11f1-b15c-02fc00000001:4") == 7


def test_sources_of_a_set_are_sorted() -> None:
    assert sources("b:1-2,\na:5") == ["a", "b"]

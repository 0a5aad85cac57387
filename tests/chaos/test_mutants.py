"""The lines that ``make chaos-mutants`` takes out are still there, and break what they should."""

from __future__ import annotations

import pytest

from django_taskq.broker import scripts
from django_taskq.broker.connection import Server
from tests.chaos.fault import load_faults
from tests.chaos.mutants import MUTANTS, Mutant
from tests.chaos.report import Report


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_script_and_can_be_loaded(mutant: Mutant, server: Server) -> None:
    changed = [name for name in scripts.names() if mutant.of(scripts.load(name)).sha != sha(name)]

    assert changed == [mutant.script]
    assert server.command("SCRIPT", "LOAD", mutant.of(scripts.load(mutant.script)).source)
    assert mutant.fault in load_faults()


def test_a_mutant_whose_line_is_gone_fails() -> None:
    gone = Mutant("gone", "renew", "no such line", "", "kill-child", "")

    with pytest.raises(LookupError, match="mend the mutant"):
        gone.of(scripts.load("renew"))


def test_a_run_that_fails_of_something_else_has_not_noticed() -> None:
    mutant = Mutant("some", "renew", "", "", "kill-child", "done again")

    assert mutant.noticed(Report("kill-child", complaints=["3 jobs done again: 1, 2, 3"]))
    assert not mutant.noticed(Report("kill-child", complaints=["RuntimeError: no server"]))
    assert not mutant.noticed(Report("kill-child"))


def test_a_lapse_is_noticed_and_alone_shows_nothing() -> None:
    mutant = Mutant("some", "renew", "", "", "long-jobs", "leases ended")
    lapsed = ["2 leases ended of workers that lived and were heard"]

    assert mutant.noticed(Report("long-jobs", lapsed=lapsed))
    assert Report("long-jobs", lapsed=lapsed).inconclusive
    assert not Report("long-jobs", lapsed=lapsed, complaints=["1 jobs lost: 7"]).inconclusive
    assert not Report("long-jobs").inconclusive


def sha(name: str) -> str:
    return scripts.load(name).sha

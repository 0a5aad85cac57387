"""What was decided about failures: it stands as long as it says, and nobody undoes it unseen."""

from __future__ import annotations

from typing import Any

import pytest

from django_taskq.broker.broker import Broker
from django_taskq.broker.keys import global_key
from django_taskq.broker.triage import FOR_GOOD, HEAD, Decision, Triage, Verdict, verdict_of
from django_taskq.frames import Fingerprint
from django_taskq.job import new_id
from tests.broker.helpers import DAY, verdicts

GROUP = Fingerprint("builtins.KeyError", "shop.pay", "shop/tasks.py: pay")
HOUR = 3_600_000


@pytest.fixture
def triage(broker: Broker) -> Triage:
    return Triage(broker)


@pytest.fixture
def key(broker: Broker) -> str:
    return global_key(broker.prefix, "verdicts")


def only(triage: Triage) -> Verdict:
    (verdict,) = verdicts(triage).values()
    return verdict


def test_a_verdict_says_who_decided_what_and_until_when(triage: Triage, clock: Any) -> None:
    assert triage.ignore(GROUP, "", "ada", "the provider is down", HOUR)

    assert list(verdicts(triage)) == [GROUP.digest]
    verdict = only(triage)
    assert (verdict.fingerprint, verdict.decision) == (GROUP, Decision.IGNORED)
    assert (verdict.by, verdict.why) == ("ada", "the provider is down")
    assert (verdict.at, verdict.until, len(verdict.token)) == (clock(), clock() + HOUR, 22)


def test_what_is_resolved_counts_until_it_fails_again(triage: Triage, clock: Any) -> None:
    triage.resolve(GROUP, "", "ada")
    verdict = only(triage)

    assert verdict.holds(clock(), clock())
    assert verdict.holds(0, clock() + 90 * DAY - 1)
    assert not verdict.holds(clock() + 1, clock() + 1)
    assert not verdict.holds(0, clock() + 90 * DAY)


def test_what_is_ignored_counts_until_its_time_is_over(triage: Triage, clock: Any) -> None:
    triage.ignore(GROUP, "", "ada", "", HOUR)
    verdict = only(triage)

    assert verdict.holds(clock() + 1, clock() + HOUR - 1)
    assert not verdict.holds(0, clock() + HOUR)


def test_for_good_has_no_end(triage: Triage, clock: Any) -> None:
    triage.ignore(GROUP, "", "ada", "", FOR_GOOD)
    clock.forward(2_000 * DAY)
    triage.resolve(GROUP._replace(task="other"), "", "ada")

    verdict = verdicts(triage)[GROUP.digest]
    assert verdict.until == 0
    assert verdict.holds(clock(), clock())


def test_what_is_reopened_counts_no_more(triage: Triage, clock: Any) -> None:
    triage.ignore(GROUP, "", "ada", "", FOR_GOOD)
    assert triage.reopen(GROUP, only(triage).token, "ben")

    assert (only(triage).decision, only(triage).by) == (Decision.OPEN, "ben")
    assert not only(triage).holds(0, clock())


def test_nobody_overrides_what_he_has_not_seen(triage: Triage) -> None:
    triage.resolve(GROUP, "", "ada")
    before = only(triage)

    assert not triage.ignore(GROUP, "", "ben", "", HOUR)
    assert not triage.reopen(GROUP, new_id(), "ben")

    assert only(triage) == before
    assert triage.ignore(GROUP, before.token, "ben", "", HOUR)


def test_what_is_over_need_not_have_been_seen(triage: Triage, clock: Any) -> None:
    triage.ignore(GROUP, "", "ada", "", HOUR)
    shown = only(triage).token
    clock.forward(HOUR)

    assert triage.resolve(GROUP, "", "ben")
    assert not triage.resolve(GROUP, shown, "eve")
    assert only(triage).by == "ben"


def test_a_page_from_before_the_end_may_still_decide(triage: Triage, clock: Any) -> None:
    triage.ignore(GROUP, "", "ada", "", HOUR)
    shown = only(triage).token
    clock.forward(HOUR)

    assert triage.resolve(GROUP, shown, "ben")


@pytest.mark.parametrize("later", ["nothing", "reopened", "ignored"])
def test_a_call_that_is_sent_again_changes_nothing_more(
    triage: Triage, broker: Broker, clock: Any, later: str
) -> None:
    said = b'{"exception":"E","task":"t","place":"","decision":"resolved","by":"ada"}'
    call = broker.timed_call("triage", "", (GROUP.digest, "", new_id(), HOUR, said))
    assert broker.server.call(call) == b"O"
    clock.forward(1)
    if later == "reopened":
        triage.reopen(GROUP, only(triage).token, "ben")
    elif later == "ignored":
        triage.ignore(GROUP, only(triage).token, "ben", "", HOUR)
    before = verdicts(triage)

    assert broker.server.call(call) == (b"O" if later == "nothing" else b"C")

    assert verdicts(triage) == before


def test_what_is_over_is_dropped_with_the_next(triage: Triage, key: str, clock: Any) -> None:
    for n in range(5):
        triage.ignore(GROUP._replace(task=f"t{n}"), "", "ada", "", HOUR)
    clock.forward(HOUR)
    assert len(verdicts(triage)) == 5

    triage.resolve(GROUP, "", "ada")

    assert list(verdicts(triage)) == [GROUP.digest]


def test_there_are_never_more_than_a_thousand_and_the_oldest_makes_room(
    triage: Triage, broker: Broker, key: str, clock: Any
) -> None:
    said = b'{"exception":"E","task":"t","place":"","decision":"resolved"}'
    for n in range(1_000):
        head = HEAD.pack(clock() - 500 + (n * 7) % 1_000, 0, new_id().encode())
        broker.server.command("HSET", key, f"g{n}", head + said)
    oldest = f"g{next(n for n in range(1_000) if (n * 7) % 1_000 == 0)}"

    assert triage.resolve(GROUP, "", "ada")
    found = verdicts(triage)
    assert len(found) == 1_000
    assert GROUP.digest in found
    assert oldest not in found

    assert triage.reopen(GROUP, found[GROUP.digest].token, "ada")
    assert verdicts(triage).keys() == found.keys()


def test_a_verdict_that_cannot_be_read_hides_no_other(
    triage: Triage, broker: Broker, key: str
) -> None:
    triage.resolve(GROUP, "", "ada")
    head = HEAD.pack(1, 0, new_id().encode())
    late = HEAD.pack(2**63, 0, new_id().encode())
    good = b'{"exception":"E","task":"t","place":"","decision":"ignored"}'
    bad = {"short": b"x", "json": head + b"{", "decision": head + good.replace(b"ign", b"adm")}
    bad["late"] = late + good
    for name, raw in bad.items():
        broker.server.command("HSET", key, name, raw)

    assert list(verdicts(triage)) == [GROUP.digest]
    assert verdict_of(head + good) is not None
    assert triage.resolve(GROUP._replace(task="other"), "", "ada")


def test_what_a_form_said_is_cut(triage: Triage) -> None:
    triage.ignore(GROUP, "", "a" * 900, "b" * 900, HOUR)

    assert (len(only(triage).by), len(only(triage).why)) == (150, 500)


def test_a_group_has_one_name_everywhere_and_no_other_group_has_it() -> None:
    names = {
        Fingerprint(*parts).digest
        for parts in (("a", "b", "c"), ("a", "b", ""), ("ab", "", "c"), ("a", "bc", ""))
    }

    assert len(names) == 4
    assert GROUP.digest == "68339b160595a3dde4464691106f5a41"

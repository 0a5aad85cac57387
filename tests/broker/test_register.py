"""register: a queue has one short number, for ever."""

from __future__ import annotations

from typing import Any

from django_taskq.broker.broker import Broker
from django_taskq.broker.connection import Server


def test_queues_are_numbered_as_they_come(broker: Broker) -> None:
    assert [broker.number(name) for name in ("mail", "images", "mail", "default")] == [1, 2, 1, 3]


def test_another_process_sees_the_same_numbers(server: Server, prefix: str, broker: Broker) -> None:
    broker.number("mail"), broker.number("images")
    another = Broker(server, prefix)

    assert another.number("images") == 2
    assert another.number("mail") == 1
    assert another.number("new") == 3


def test_a_number_leads_to_its_queue(server: Server, prefix: str, broker: Broker) -> None:
    broker.number("mail"), broker.number("images")
    another = Broker(server, prefix)
    assert another.known_number("mail") is None

    assert [another.queue_of(number) for number in (1, 2, 3)] == ["mail", "images", None]
    assert another.known_number("mail") == 1


def test_all_queues_are_listed(server: Server, prefix: str, broker: Broker) -> None:
    for name in ("mail", "images", "wörk"):
        broker.number(name)

    assert Broker(server, prefix).queues() == ["images", "mail", "wörk"]


def test_prefixes_share_nothing(server: Server, prefix: str, broker: Broker, clock: Any) -> None:
    other = Broker(server, f"{prefix}:other", now=clock)

    assert (broker.number("a"), other.number("b")) == (1, 1)
    assert broker.queues() == ["a"]


def test_a_queue_that_was_deleted_by_hand_leaves_its_number_unused(
    server: Server, prefix: str, broker: Broker
) -> None:
    broker.number("mail"), broker.number("images")
    server.command("HDEL", f"{prefix}:queues", "mail")
    another = Broker(server, prefix)

    assert another.number("new") == 3
    assert another.number("mail") == 4
    assert another.queues() == ["images", "mail", "new"]


def test_numbers_that_were_given_before_the_last_was_kept_go_on(
    server: Server, prefix: str, broker: Broker
) -> None:
    server.command("HSET", f"{prefix}:queues", "mail", 1, "images", 2)

    assert broker.number("new") == 3

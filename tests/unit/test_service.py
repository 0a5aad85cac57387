"""A service that fails rests a little longer each time, and never for as long as its neighbours."""

from __future__ import annotations

import pytest

from django_taskq.clock import monotonic
from django_taskq.exceptions import BrokerUnavailable
from django_taskq.service import Service


class Failing(Service):
    """Redis is away."""

    def tick(self) -> float:
        raise BrokerUnavailable("away")


def rest_of(service: Service) -> float:
    """Seconds until it is asked again, after a failure at this moment."""
    service.due = 0.0
    before = monotonic()
    service.run(before)
    return service.due - before


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.2), (2, 0.4), (4, 1.6), (5, 2.0), (99, 2.0)]
)
def test_the_rest_doubles_up_to_a_limit_and_is_drawn(failures: int, longest: float) -> None:
    rests = []
    for _ in range(20):
        service = Failing()
        rests.append([rest_of(service) for _ in range(failures)][-1])

    assert all(longest / 2 <= rest <= longest + 0.05 for rest in rests)
    assert len({round(rest, 6) for rest in rests}) > 10

"""A service that fails rests a little longer each time, and never for as long as its neighbours."""

from __future__ import annotations

import pytest

from django_taskq.exceptions import BrokerUnavailable
from django_taskq.service import Service


class Failing(Service):
    """Redis is away."""

    def tick(self) -> float:
        raise BrokerUnavailable("away")


def rest_of(service: Service) -> float:
    """Seconds until it is asked again, after a failure in no time."""
    service.due = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django_taskq.service.monotonic", lambda: 0.0)
        service.run(0.0)
    return service.due


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.2), (2, 0.4), (4, 1.6), (5, 2.0), (99, 2.0)]
)
def test_the_rest_doubles_up_to_a_limit_and_is_drawn(failures: int, longest: float) -> None:
    rests = []
    for _ in range(20):
        service = Failing()
        rests.append([rest_of(service) for _ in range(failures)][-1])

    assert all(longest / 2 <= rest <= longest for rest in rests)
    assert len({round(rest, 6) for rest in rests}) > 10

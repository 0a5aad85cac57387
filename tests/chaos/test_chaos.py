"""The quickest of the faults, as part of the suite; ``make chaos`` tries all of them."""

from __future__ import annotations

import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.chaos.__main__ import try_one
from tests.chaos.fault import Fault, load_faults
from tests.chaos.server import binary

QUICK = [fault for fault in load_faults().values() if fault.quick]


@pytest.fixture(autouse=True)
def _possible() -> None:
    if sys.platform != "linux":
        pytest.skip("what a worker's processes do is read from /proc")
    try:
        binary()
    except ImproperlyConfigured as error:
        pytest.skip(f"there is no server of our own to strike: {error}")


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_no_job_is_lost(fault: type[Fault]) -> None:
    report = try_one(fault, fault.jobs, fault.rounds)
    assert not report.complaints  # how long it took is for `make chaos` to judge
    assert (report.lost, report.faults) == (0, fault.rounds)

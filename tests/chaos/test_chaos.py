"""The quickest of the faults, as part of the suite; ``make chaos`` tries all of them."""

from __future__ import annotations

import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.chaos.__main__ import try_twice
from tests.chaos.fault import Fault, load_faults
from tests.chaos.server import binary

pytestmark = pytest.mark.timeout(900)

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
    report = try_twice(fault, fault.jobs, fault.rounds)
    assert not report.complaints + report.lapsed  # what took too long `make chaos` judges
    assert (report.lost, report.faults) == (0, fault.rounds)

"""The job in Celery. ``PEER_LATE``: acknowledged when it is done, found again after 10 s."""

from __future__ import annotations

import os
import sys

from celery import Celery

from tests.chaos.peers.job import job

app = Celery("peer", broker=os.environ["PEER_URL"])
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
if os.environ.get("PEER_LATE"):
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options={"visibility_timeout": 10},
    )


work = app.task(job, name="work")  # the producer runs this file as __main__

if __name__ == "__main__":
    for each in range(int(sys.argv[1])):
        work.delay(each, float(sys.argv[2]))

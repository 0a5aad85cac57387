"""The job in Dramatiq: a heartbeat of 10 s, and maintenance with every command."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.chaos.peers.job import job

dramatiq.set_broker(
    RedisBroker(url=os.environ["PEER_URL"], heartbeat_timeout=10_000, maintenance_chance=1_000_000)
)


work = dramatiq.actor(job)

if __name__ == "__main__":
    for each in range(int(sys.argv[1])):
        work.send(each, float(sys.argv[2]))

"""The measure for everything here: the least that redis-py and two Lua scripts need for a queue.

A job is a field of a HASH and a place in a ZSET; one call settles a batch and claims the next.
What it leaves out: fences and leases (a job whose loop dies is stuck), attempts and retries,
results, errors, expiry, wake-up, limits on what is kept, Django's TaskResult and signals, threads,
and any check of arguments. No queue with these duties can be as fast; how close one comes is
comparable between machines, which jobs per second are not.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from time import sleep, time
from typing import Any

import msgspec
import redis

BATCH = 64  # jobs settled and claimed in one call
BULK = 500  # jobs enqueued in one call

# KEYS: jobs, ready; ARGV: score, then id and envelope per job. An id that exists is left alone.
ENQUEUE = """
local ids, fields, places = {}, {}, {}
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local known = redis.call('HMGET', KEYS[1], unpack(ids))
for i, id in ipairs(ids) do
  if not known[i] then
    fields[#fields + 1], fields[#fields + 2] = id, ARGV[i * 2 + 1]
    places[#places + 1], places[#places + 2] = ARGV[1], id
  end
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('ZADD', KEYS[2], unpack(places))
return #fields / 2
"""

# KEYS: jobs, ready, running; ARGV: how many, then the ids that are done.
EXCHANGE = """
if #ARGV > 1 then
  local done = { unpack(ARGV, 2) }
  redis.call('ZREM', KEYS[3], unpack(done))
  redis.call('HDEL', KEYS[1], unpack(done))
end
local ids = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)
if #ids == 0 then return { ids, ids } end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, ARGV[1] - 1)
local places = {}
for i, id in ipairs(ids) do places[#places + 1], places[#places + 2] = i, id end
redis.call('ZADD', KEYS[3], unpack(places))
return { ids, redis.call('HMGET', KEYS[1], unpack(ids)) }
"""

Body = Callable[..., object]
Call = tuple[Any, ...]


class Envelope(msgspec.Struct):
    """What is stored of a job."""

    t: str
    a: tuple[Any, ...]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Envelope).decode


def new_id() -> str:
    """22 random characters."""
    return urlsafe_b64encode(os.urandom(16))[:22].decode()


class Bare:
    """The queue under a prefix. Bodies are called with a job's arguments."""

    def __init__(self, url: str, prefix: str) -> None:
        # redis-py 8 gives up on a reply after 5 s, which is as long as a blocked read lasts.
        self.client: Any = redis.Redis.from_url(url, socket_timeout=None)
        self.keys = [f"{prefix}:bare:{name}" for name in ("jobs", "ready", "running")]
        self._enqueue = self.client.script_load(ENQUEUE)
        self._exchange = self.client.script_load(EXCHANGE)

    def command(self, args: Call, score: float | None = None) -> tuple[Any, ...]:
        """The command that enqueues one job; ``score``: its place, the time if nobody says."""
        envelope = encode(Envelope("benchmarks.tasks.run_noop", args))
        place = time() if score is None else score
        return "EVALSHA", self._enqueue, 2, *self.keys[:2], place, new_id(), envelope

    def enqueue(self, args: Call, score: float | None = None) -> None:
        """One job in one round trip, through all of redis-py."""
        self.client.execute_command(*self.command(args, score))

    def enqueue_many(self, calls: Iterable[Call]) -> None:
        """A round trip for each 500 jobs."""
        batch: list[str | bytes] = []
        for args in calls:
            batch += (new_id(), encode(Envelope("benchmarks.tasks.run_noop", args)))
            if len(batch) == 2 * BULK:
                self.client.evalsha(self._enqueue, 2, *self.keys[:2], time(), *batch)
                batch = []
        if batch:
            self.client.evalsha(self._enqueue, 2, *self.keys[:2], time(), *batch)

    def drain(self, body: Body) -> int:
        """Runs all there is; how many jobs that were."""
        count = 0
        done: list[bytes] = []
        while True:
            done = self._run(body, BATCH, done)
            if not done:
                return count
            count += len(done)

    def run_when_due(self, body: Body, count: int) -> None:
        """Runs ``count`` jobs at the times that are their scores, sleeping until the next."""
        done: list[bytes] = []
        for _ in range(count):
            head = self.client.zrange(self.keys[1], 0, 0, withscores=True)
            sleep(max(head[0][1] - time(), 0))
            done = self._run(body, 1, done)

    def _run(self, body: Body, want: int, done: list[bytes]) -> list[bytes]:
        """Settles what is ``done`` and runs the next; their ids."""
        reply = self.client.evalsha(self._exchange, 3, *self.keys, want, *done)
        ids, envelopes = reply
        for raw in envelopes:
            body(*decode(raw).a)
        return ids  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Deletes everything."""
        self.client.delete(*self.keys)

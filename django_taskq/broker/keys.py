"""Every key there is, with its Redis type: the data model on one page.

A queue is these keys, however many jobs it holds. All share the hash tag ``{queue}``, so a queue
lives in one slot of a Cluster and a script can declare everything it touches.
"""

from __future__ import annotations

QUEUE_KEYS: dict[str, str] = {
    "jobs": "HASH",  # id -> envelope, JSON, never read by a script
    "live": "HASH",  # id -> fence, attempt, holder, times: packed, see common.lua and job.Live
    "errors": "HASH",  # id -> failures, one JSON line each
    "reports": "HASH",  # id -> what a running job says of itself: how far it is, its log
    "results": "HASH",  # id -> value, JSON; none stored means null
    "ready": "ZSET",  # id by -priority * 2**45 + sequence
    "running": "ZSET",  # id by claim time, ms * 1000, plus its place in the claim
    "scheduled": "ZSET",  # id by due time, ms
    "retrying": "ZSET",  # id by due time, ms
    "waiting": "ZSET",  # id by the time it may be released, ms; at a gate by its place in `ready`
    "succeeded": "ZSET",  # id by the time it may be trimmed, ms
    "dead": "ZSET",  # id by the time it may be trimmed, ms
    "cancelled": "ZSET",  # id by the time it may be trimmed, ms
    "parked": "ZSET",  # "task id", all at score 0: a queue per task name
    "cancels": "HASH",  # id of a running job that is to stop -> how: cancel, kill
    "holders": "ZSET",  # holder by the end of its lease, ms; 0: dead, being reclaimed
    "claims": "HASH",  # holder -> its last request that claimed, and when (ms): packed
    "wake": "LIST",  # at most one token: there are ready jobs
    "timer": "LIST",  # at most one token: something is due earlier than before
    "calls": "ZSET",  # token of an operator's call by its time, ms; for RESEND_WINDOW
    "answers": "HASH",  # token -> what that call answered
    "asks": "HASH",  # id -> its lock, turn and limits: packed, see asks.py; none: no entry
    "locks": "HASH",  # lock -> id of the job that has it, and ms until which it stays after that
    "lapses": "ZSET",  # lock by the time until which it stays although its job has ended, ms
    "limits": "HASH",  # limit -> how many at once, ms between two, ms of slack: packed; as the code
    # says it, and before that as a person does, see limit.lua
    "entered": "ZSET",  # "gate zero id" of the jobs inside, all at score 0
    "gated": "ZSET",  # "gate zero place id" of the jobs that wait there, all at score 0
    "rates": "ZSET",  # gate by the time its next job would come if all came evenly, ms
    "opens": "ZSET",  # gate by the time its rate has room for who waits there, ms
    "turns": "HASH",  # "priority:key" -> the last turn of a key that takes turns
    "ticks": "HASH",  # schedule -> its last tick, flags, fingerprint, job: packed, see calendar.lua
    "tick_log": "HASH",  # schedule -> what became of its last ticks, a line each
    "pauses": "HASH",  # paused schedule -> its end, begin, `last`, and a note: see calendar.lua
    "bulks": "ZSET",  # id of a job that does something to many others, by its start, ms
    "tallies": "HASH",  # the same id -> how far it has come, JSON
    "counting": "HASH",  # what attempts came to in this minute: "counter task" -> how many
    "counts": "HASH",  # the same of past minutes, hours and days, see counts.lua
    "events": "STREAM",  # ids of jobs that changed, joined by spaces; while somebody listens
    "listeners": "HASH",  # who listens -> how far it has come, and who reads for it: see listen.lua
    "meta": "HASH",  # seq, front, keeper, keeper_until, renewed, reap_after, sweep, version, cuts,
    # what was trimmed, quarantined, swept_CHECK (see sweep.py); paused (see pause.lua), pause_note
    "ended": "CHANNEL",  # ids that ended, joined by spaces (sharded publish)
}

GLOBAL_KEYS: dict[str, str] = {
    "queues": "HASH",  # queue -> its short number, the part of a job id behind the dot; # -> last
    "workers": "HASH",  # worker -> the time until which its record stands, ms, and that, JSON
    "stacks": "HASH",  # holder -> when it said where its code is, ms, and that; for 2 minutes
    "releases": "ZSET",  # release of the project by when a worker first had it, ms; the last 100
    "audit": "STREAM",  # who did what, the last 10,000 of it
    "verdicts": "HASH",  # digest of a group of failures -> when that was decided, until when it
    # stands, a token: packed, see triage.py; and what was decided, JSON. 1,000 at most
    "control": "CHANNEL",  # "cancel holder id fence", "worker id order": to be known at once
}


def queue_key(prefix: str, queue: str, name: str) -> str:
    """The key ``name`` of one queue."""
    return f"{prefix}:{{{queue}}}:{name}"


def global_key(prefix: str, name: str) -> str:
    """A key that belongs to no queue; each is touched alone."""
    return f"{prefix}:{name}"

"""Fires schedules when they are due. Every worker does; Redis lets each tick be fired once."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable

from ..broker.almanac import Almanac, Record
from ..broker.broker import HOUSEKEEPING, Broker
from ..clock import monotonic
from ..codec import printable
from ..exceptions import InvalidOption
from ..firing import Firing, Plan
from ..line import Line
from ..periodic import Declaration, Periodic, declared, resolve
from ..server_clock import ServerClocks
from ..service import Service
from ..troubles import Troubles

logger = logging.getLogger("django_taskq.worker")

ROUND = 3600.0  # seconds after which every schedule is looked at again, and old ones are forgotten
CLOCK = 30.0  # seconds after which Redis is asked for the time
HOLD = (0.3, 1.0)  # seconds that a worker leaves a tick to the one that fired the last
PAUSE = 10.0  # seconds after which a paused schedule is looked at, if nobody said it goes on
ROWS = 10.0  # seconds that the first reading of the rows may take
TROUBLE = 60.0  # seconds after which one whose job could not be made is tried again


class Scheduler(Service):
    """The schedules of one backend, whichever queues its worker serves.

    Sleeps on its own clock until the next tick, by Redis' time. Who fired a schedule's last tick
    fires the next at once; others look a moment later whether that was done.
    """

    def __init__(
        self,
        broker: Broker,
        alias: str,
        sender: type,
        max_payload: int,
        *,
        has_rows: bool = False,
    ) -> None:
        super().__init__()
        self._knows_rows = not has_rows
        self._patience = monotonic() + ROWS if has_rows else 0.0
        self._broker = broker
        # Apart: a queue whose records can be read may still take no tick.
        self._refused = Troubles("firing schedules", self.error_delay, self.longest_delay)
        self._almanac = Almanac(broker)
        self._firing = Firing(self._almanac, alias, sender, max_payload)
        self._alias = alias
        self._wanted: dict[str, Periodic | Declaration] = {}
        self._new: dict[str, None] = {}  # names to be looked at; a dict keeps their order
        self._later: dict[str, list[str]] = {}  # the same of queues that failed
        self._bad: dict[str, str] = {}  # name -> why it is not run
        self._plans: dict[str, Plan] = {}
        self._line = Line()
        self._fired: deque[Plan] = deque()  # whose next tick was not looked for yet
        self._clocks = ServerClocks()
        self._next_round = self._next_clock = 0.0
        self._want(())

    # -- what there is ---------------------------------------------------------------------------

    def follow(self, rows: Iterable[Declaration] | None) -> None:
        """From here on these rows count, and what code says beside them.

        None: they cannot be read. Until they are known, a schedule whose times are not those of
        its record is left alone: it may be a row that stands before the one in code.
        """
        if rows is None:
            self._patience = self.due = 0.0
            return
        if not self._knows_rows:
            self._knows_rows, self._patience = True, 0.0
            self._look_at(self._wanted)
        self._want(rows)

    def _want(self, rows: Iterable[Declaration]) -> None:
        wanted: dict[str, Periodic | Declaration] = {m.name: m for m in declared()}
        wanted |= {row.name: row for row in rows}
        for name in self._wanted.keys() - wanted.keys():
            self._forget(name)
        self._look_at(name for name, made in wanted.items() if self._wanted.get(name) != made)
        self._wanted = wanted

    def _forget(self, name: str) -> None:
        self._plans.pop(name, None)
        self._line.drop(name)

    def look_again(self) -> None:
        """Somebody paused a schedule, or let one go on."""
        self._look_at(self._wanted)

    def _look_at(self, names: Iterable[str]) -> None:
        self._new.update(dict.fromkeys(names))
        if self._new:
            self.due = 0.0

    # -- the service -----------------------------------------------------------------------------

    def tick(self) -> float:
        now = monotonic()
        if now < self._patience:
            return self._patience - now
        if now >= self._next_round:
            self._next_round = now + ROUND * random.uniform(0.8, 1.2)
            self._look_at(self._wanted)
            self._each(self._broker.queues(), self._retire)  # also where none is left in the code
        self._take_up(now)
        if self._new:
            self._begin()
        if now >= self._next_clock:
            self._next_clock = now + CLOCK
            self._ask_the_time()
        self._fire()
        if (
            self._line.head() > monotonic()
        ):  # what is due goes first: finding next ticks takes its time
            self._aim_again()
        return self._rest()

    def _rest(self) -> float:
        if self._new or self._fired:
            return 0.0
        again = map(self.troubles.until, self._later)
        until = min(self._next_round, self._next_clock, self._line.head(), *again)
        return max(until - monotonic(), 0.0)

    def _each(self, queues: Iterable[str], act: Callable[[str], object]) -> None:
        """Does it for each queue. One that fails rests, and the others go on."""
        self.troubles.each(queues, act, self._broker.place_of)

    @property
    def _queues(self) -> set[str]:
        return {plan.made.queue for plan in self._plans.values()}

    def _retire(self, queue: str) -> None:
        cursor = "0"
        while True:
            cursor, _ = self._almanac.retire(queue, cursor)
            if cursor == "0":
                break

    # -- beginning -------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Takes up some of the names that were not looked at yet."""
        by_queue: dict[str, list[Periodic]] = {}
        for name in list(self._new)[:HOUSEKEEPING]:
            self._new.pop(name, None)
            made = self._resolved(name)
            if made is not None:
                by_queue.setdefault(made.queue, []).append(made)
        self._each(by_queue, lambda queue: self._begin_some(queue, by_queue[queue]))
        for queue in [queue for queue in by_queue if queue in self.troubles]:
            self._later.setdefault(queue, []).extend(made.name for made in by_queue[queue])

    def _take_up(self, now: float) -> None:
        """Those of queues whose rest is over are looked at after all others."""
        for queue in [queue for queue in self._later if self.troubles.until(queue) <= now]:
            self._look_at(self._later.pop(queue))

    def _begin_some(self, queue: str, chosen: list[Periodic]) -> None:
        prints = {made.name: made.schedule.fingerprint for made in chosen}
        if not self._knows_rows:
            chosen = self._undoubted(queue, chosen, prints)
        records = self._ask(queue, [(made.name, prints[made.name]) for made in chosen])
        for made, record in zip(chosen, records, strict=True):
            known = self._plans.get(made.name)
            plan = Plan(
                made,
                record or Record(self._clocks.now(queue)),
                leads=known is None or known.leads,
            )
            self._plans[made.name] = plan
            self._aim(plan)

    def _undoubted(
        self, queue: str, chosen: list[Periodic], prints: dict[str, str]
    ) -> list[Periodic]:
        """Those that have no record, or one with their own times."""
        records = self._ask(queue, [(made.name, "") for made in chosen])
        return [
            made
            for made, record in zip(chosen, records, strict=True)
            if record is None or record.print == prints[made.name]
        ]

    def _resolved(self, name: str) -> Periodic | None:
        """The schedule of that name, if it is one and of this backend."""
        made = self._wanted.get(name)
        if isinstance(made, Declaration):
            try:
                made = resolve(made)
            except InvalidOption as error:
                if self._bad.get(name) != str(error):
                    logger.error("schedule %s is not run: %s", printable(name), error)
                self._bad[name] = str(error)
                made = None
            else:
                self._bad.pop(name, None)
        if made is None or made.task.backend != self._alias:
            self._forget(name)
            return None
        return made

    def _aim(self, plan: Plan) -> None:
        """Finds the next tick of a schedule, and puts it in line for that."""
        schedule = plan.made.schedule
        plan.tick = schedule.next_after(plan.record.last) if schedule.enabled else None
        self._place(plan)

    def _place(self, plan: Plan) -> None:
        name = plan.made.name
        if plan.tick is None:
            self._line.drop(name)
            return
        at = plan.made.schedule.fires_at(name, plan.tick)
        queue = plan.made.queue
        when = max(self._clocks.when(queue, at), self._refused.until(queue))
        if plan.trouble:
            when = max(when, monotonic() + TROUBLE)
        elif plan.record.paused:
            when = max(when, self._looks_again(queue, plan.record.pause.until))
        elif not plan.leads:
            when += random.uniform(*HOLD)
        self._line.put(name, when)

    def _looks_again(self, queue: str, until: int) -> float:
        """When a pause is looked at: in PAUSE, or as soon as it ends by itself."""
        soon = monotonic() + PAUSE
        return min(soon, self._clocks.when(queue, until)) if until else soon

    # -- Redis' clock ----------------------------------------------------------------------------

    def _ask(self, queue: str, schedules: list[tuple[str, str]]) -> list[Record | None]:
        """The records of (name, fingerprint) pairs; see Almanac.agenda."""
        asked = monotonic()
        now, records = self._almanac.agenda(queue, schedules)
        self._set_clock(queue, now, asked)
        return records

    def _set_clock(self, queue: str, now: int, asked: float) -> None:
        """Takes an answer's time. All who are in line get other places when the clock was set."""
        if self._clocks.told(queue, now, asked):
            for name, plan in self._plans.items():
                if plan.made.queue == queue and name in self._line:
                    self._place(plan)

    def _ask_the_time(self) -> None:
        self._each(self._queues, lambda queue: self._ask(queue, []))

    # -- firing ----------------------------------------------------------------------------------

    def _fire(self) -> None:
        """Deals with up to a hundred schedules that are due."""
        names = self._line.pop(monotonic(), HOUSEKEEPING)
        due = [self._plans[name] for name in names]
        by_queue: dict[str, list[Plan]] = {}
        for plan in due:
            by_queue.setdefault(plan.made.queue, []).append(plan)
        place_of = self._broker.place_of
        self._refused.each(
            by_queue, lambda queue: self._fire_some(queue, by_queue[queue]), place_of
        )
        self._fired.extend(due)

    def _fire_some(self, queue: str, plans: list[Plan]) -> None:
        unclaimed = self._unclaimed(queue, plans)
        for now, asked in self._firing.fire(queue, unclaimed, self._clocks.now(queue)):
            self._set_clock(queue, now, asked)

    def _aim_again(self) -> None:
        """Finds the next ticks of some schedules that were fired."""
        for _ in range(min(len(self._fired), HOUSEKEEPING)):
            plan = self._fired.popleft()
            if self._plans.get(plan.made.name) is plan:
                self._aim(plan)

    def _unclaimed(self, queue: str, plans: list[Plan]) -> list[Plan]:
        """Those whose tick nobody fired: where another leads, that is asked first."""
        asked = [plan for plan in plans if not plan.leads or plan.record.paused]
        if not asked:
            return plans
        records = self._ask(queue, [(plan.made.name, "") for plan in asked])
        for plan, record in zip(asked, records, strict=True):
            plan.record = record or plan.record
        return [plan for plan in plans if not is_done(plan)]


def is_done(plan: Plan) -> bool:
    """Whether there is nothing to fire: it was done, or the schedule is paused."""
    return plan.record.paused or plan.tick is None or plan.record.last >= plan.tick

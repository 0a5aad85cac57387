"""``make screenshots``: the admin's screens as pictures, for the documentation and for reviews.

``python -m tests.browser.screenshots [FOLDER]``; by default docs/screenshots. It needs Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from django_taskq.broker import embedded
from tests.browser.place import ADMIN, ROOT, Place, browser, chromium, sign_in
from tests.conftest import eventually

FOLDER = ROOT / "docs" / "screenshots"
WIDE, NARROW = {"width": 1180, "height": 860}, {"width": 400, "height": 860}
TALL = {"width": 1180, "height": 1020}
SEED = """
from datetime import date
resize_image.enqueue_many([(f"photos/{n}.jpg",) for n in range(40)])
send_receipt.enqueue_many([(n, f"guest{n}@example.com") for n in range(12)])
send_receipt.enqueue_many([(n, name) for n, name in enumerate(["ada", "grace", "linus"], 4100)])
for day in (3, 4, 5, 6):
    import_prices.enqueue("acme", date(2031, 5, day))
export_orders.using(queue_name="low").enqueue(2030)
sync_stock.using(run_after=7200).enqueue("Berlin", api_key="hunter2")
resize_image.using(run_after=86400, priority=5).enqueue("photos/cover.jpg")
from django_taskq.schedules.models import Schedule
Schedule(name="nightly-count", task="shop.tasks.count_stock", expression="30 2 * * *",
         tz="Europe/Berlin", args=["Hamburg"], notes="asked for by Grace").save()
Schedule(name="receipts", task="shop.tasks.send_receipts", expression="@hourly").save()
table = resize_image.get_backend().timetable
for name in ("morning-stock", "stock", "nightly-count", "nightly-count"):
    table.run(name)
table.pause("stock")
table.skip("nightly-count")
"""
# For the queue that is paused by then.
LINES = """
for shop, days in (("Berlin", 31), ("Hamburg", 28), ("Leipzig", 7)):
    report_sales.enqueue_many([(shop, day) for day in range(days)])
"""
# An hour in the life of the shop, told to the broker as if it had been there; its jobs are gone.
PAST = """
import random
from django_taskq.broker.broker import Broker, Draft, Exchange
from django_taskq.broker.releases import Releases
from django_taskq.clock import now_ms
from django_taskq.compat import task_backends
from django_taskq.job import Kind, Outcome, new_id
dice, moment = random.Random(4), [0]
ours = task_backends["default"].broker
broker = Broker(ours.server, ours.prefix, now=lambda: moment[0])
NAMES = {"default": ["resize_image", "send_receipt", "import_prices"], "low": ["export_orders"]}
for queue in NAMES:
    broker.number(queue)
begun = now_ms() - 61 * 60_000
for minute in range(60):
    moment[0] = begun + minute * 60_000
    if minute in (18, 38):
        Releases(broker).mark(f"2.4.{minute // 18}")
    for queue, names in NAMES.items():
        count, holder = dice.randint(3, 9) if not 30 < minute < 35 else 0, new_id()
        broker.enqueue(queue, [Draft(new_id(), b'["past",1]') for _ in range(count)])
        broker.measure(queue)
        told = []
        for grant in broker.exchange([Exchange(queue, holder, 30_000, True, 1, count)])[0].grants:
            kind = Kind(dice.choices("SDC", [92, 6, 2])[0])
            wait, run = (int(dice.lognormvariate(*shape)) for shape in ((6, 1.5), (5, 1)))
            task = f"shop.tasks.{dice.choice(names)}"
            told.append(Outcome(grant, kind, b"", 0, moment[0], task, wait, run))
        broker.exchange([Exchange(queue, holder, 30_000, False, 2, 0, told)])
        broker.reclaim(queue, holder, b"{}", died=True)
for queue in NAMES:
    while ours.trim(queue):
        pass
"""
# name -> (page, theme, viewport); what ends in -rtl is in Persian
SHOTS: dict[str, tuple[str, str, dict[str, int]]] = {
    "dashboard-light": ("dashboard/", "light", WIDE),
    "dashboard-dark": ("dashboard/", "dark", WIDE),
    "dashboard-narrow": ("dashboard/", "light", NARROW),
    "dashboard-rtl": ("dashboard/", "light", WIDE),
    "queues": ("queue/", "light", WIDE),
    "queues-narrow": ("queue/", "dark", NARROW),
    "queue": ("queue/low/change/", "light", WIDE),
    "jobs": ("job/?state=succeeded", "light", WIDE),
    "charts-narrow": ("queue/default/change/", "light", NARROW),
    "charts-dark": ("tasktype/shop.tasks.resize_image/change/", "dark", TALL),
    "task-types": ("tasktype/", "light", WIDE),
    "charts": ("tasktype/shop.tasks.send_receipt/change/", "light", TALL),
    "call": ("tasktype/shop.tasks.send_receipt/call/", "light", WIDE),
    "search-dark": ("job/?state=any&q=error:UnknownMailbox", "dark", WIDE),
    "jobs-narrow": ("job/?state=dead", "dark", NARROW),
    "job-light": ("job/{dead}/change/", "light", WIDE),
    "job-narrow": ("job/{dead}/change/", "light", NARROW),
    "job-running": ("job/{running}/change/", "light", WIDE),
    "waiting-light": ("job/{scheduled}/change/", "light", WIDE),
    "edit": ("job/{dead}/edit/", "light", WIDE),
    "confirm": ("", "light", WIDE),
    "failures": ("failure/", "light", WIDE),
    "workers": ("worker/", "light", WIDE),
    "workers-narrow": ("worker/", "dark", NARROW),
    "worker": ("{worker}", "light", WIDE),
    "schedules": ("schedule/", "light", WIDE),
    "schedules-narrow": ("schedule/", "dark", NARROW),
    "schedule": ("schedule/morning-stock/change/", "light", WIDE),
    "schedule-narrow": ("schedule/morning-stock/change/", "light", NARROW),
    "schedule-dark": ("schedule/stock/change/", "dark", WIDE),
    "schedule-edit": ("schedule/nightly-count/edit/", "light", WIDE),
    "audit": ("audit/", "light", WIDE),
    "audit-redis": ("audit/?where=redis", "light", WIDE),
    "rows": ("../taskq_mirror/jobrecord/", "light", WIDE),
    "rows-narrow": ("../taskq_mirror/jobrecord/", "dark", NARROW),
    "row": ("../taskq_mirror/jobrecord/?q={dead}", "light", WIDE),
    "work": ("job/bulk/", "light", WIDE),
}


def prepare(place: Place, page: Any) -> dict[str, str]:
    """Jobs in every state, and a person who did something; the ids that addresses need."""
    place.enqueue(PAST)
    place.enqueue(SEED)
    place.work()
    dead = 'name="job" value="'

    def failed() -> str:
        page.goto(place.page("job/?state=dead"))
        found: str = page.content()
        return found.partition(dead)[2].partition('"')[0] if found.count(dead) == 3 else ""

    id = str(eventually(failed, 60))
    page.goto(place.page("queue/low/change/"))
    page.get_by_text("Pause …").click()
    page.get_by_label("Reason, for whoever sees it").fill("mail provider is down")
    page.get_by_role("button", name="Pause", exact=True).click()
    place.enqueue(LINES)
    page.goto(place.page("job/?state=retrying"))
    page.locator("input[name=job]").first.check()
    page.get_by_label("What to do", exact=True).select_option("retry")
    page.get_by_role("button", name="to the ticked").click()
    page.goto(place.page("job/?state=succeeded&q=task:shop.tasks.resize_image"))
    page.get_by_label("What to do", exact=True).select_option("delete")
    page.get_by_role("button", name="to all that match").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    eventually(lambda: page.reload() and "40 jobs" in page.content(), 30)
    page.goto(place.page("job/?state=scheduled"))
    scheduled = page.content().partition(dead)[2].partition('"')[0]
    page.goto(place.page("job/?state=running"))
    running = page.content().partition(dead)[2].partition('"')[0]
    page.goto(place.page("worker/"))
    page.get_by_role("button", name="Show its stack now").first.click()
    address = page.url.partition(f"{ADMIN}/")[2]
    return {"dead": id, "scheduled": scheduled, "running": running, "worker": address}


def ask_to_kill(place: Place, page: Any) -> None:
    """As far as the page that asks whether one is sure."""
    page.goto(place.page("job/?state=running"))
    page.get_by_role("link", name="tasks.export_orders").click()
    page.get_by_role("button", name="Kill").click()


def take(place: Place, chrome: Any, folder: Path) -> None:
    """Every picture."""
    context = chrome.new_context(locale="en-GB")
    page = context.new_page()
    page.set_viewport_size(WIDE)
    sign_in(page, place)
    ids = prepare(place, page)
    folder.mkdir(parents=True, exist_ok=True)
    persian = chrome.new_context(locale="fa", storage_state=context.storage_state())
    pages = {True: persian.new_page(), False: page}
    for name, (path, theme, size) in SHOTS.items():
        page = pages[name.endswith("-rtl")]
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)
        if name == "confirm":
            ask_to_kill(place, page)
        else:
            page.goto(place.page(path.format(**ids)))
        page.screenshot(path=folder / f"{name}.png", full_page=size is NARROW)
        print(f"{name}.png: {(folder / f'{name}.png').stat().st_size // 1024} KB")
    persian.close()
    context.close()


def main() -> int:
    if chromium() is None:
        print("There is no Chromium on the PATH: install Debian's package chromium.")
        return 1
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    home = Path(tempfile.mkdtemp(prefix="tq-web-"))
    server = home / "valkey"
    place = Place(home, f"embedded://{server}?persist=no", "shop")
    try:
        place.serve()
        with browser() as chrome:
            take(place, chrome, folder)
    finally:
        place.stop()
        if server.is_dir():
            embedded.stop(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())

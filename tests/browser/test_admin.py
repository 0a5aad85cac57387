"""The admin as people use it: with mouse or keyboard, on a telephone, without a script."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.place import Place

pytestmark = pytest.mark.timeout(600)  # the first one starts a site, a browser and a worker


@pytest.fixture(scope="module", autouse=True)
def worker(place: Place) -> Any:
    """One worker for all of them, at work, and jobs that have failed or succeeded."""
    process = place.work()
    place.enqueue(
        "from tests.conftest import eventually\n"
        "fails = send_receipt.enqueue(7, 'ada')\n"
        "import_prices.enqueue('acme', __import__('datetime').date(2030, 1, 1))\n"
        "resize_image.using(concurrency_limit=9).enqueue('cat.jpg').get(timeout=50)\n"
        "eventually(lambda: fails.refresh() or fails.state == 'dead', 50)"
    )
    return process


def settled(page: Any, text: str) -> None:
    """Waits until the page, which refreshes itself, says it."""
    page.locator("#tq-live", has_text=text).wait_for()


def screen(page: Any, name: str) -> None:
    """Goes to another of our screens."""
    page.locator(".tq-nav").get_by_role("link", name=name, exact=True).click()


def refresh(page: Any, seconds: str = "2") -> None:
    page.select_option("#tq-every", seconds)


def hold(page: Any) -> None:
    """The page as it is now, for a mouse: a button replaced while it is pressed does nothing."""
    refresh(page, "0")
    page.reload()  # as one that was fetched before may still come


def test_a_failed_job_is_found_understood_mended_and_seen_to_succeed(
    page: Any, place: Place
) -> None:
    refresh(page)
    settled(page, "UnknownMailbox")
    hold(page)
    screen(page, "Failures")
    group = page.locator(".tq-group", has_text="UnknownMailbox")
    assert "app/shop/tasks.py: deliver" in group.inner_text()

    group.get_by_role("link", name=re.compile("UnknownMailbox$")).first.click()
    page.get_by_role("link", name="tasks.send_receipt").click()
    trace = page.locator(".tq-attempt")
    assert "raise UnknownMailbox" in trace.inner_text()
    assert trace.locator(".tq-fold").first.get_attribute("open") is None
    page.get_by_role("link", name="Edit arguments").click()
    page.get_by_label("email").fill('"ada@example.com"')
    page.get_by_role("button", name="Save and retry").click()

    refresh(page)
    page.locator(".tq-head .tq-badge-succeeded").wait_for()
    assert '"ada@example.com"' in page.locator(".tq-value").inner_text()
    assert "Edit arguments" in page.locator("section", has_text="What was done to it").inner_text()


def test_arguments_that_do_not_fit_are_said_and_nothing_is_lost(page: Any, place: Place) -> None:
    (id,) = place.enqueue("print(send_receipt.using(run_after=9999).enqueue(1, 'x').id)")
    page.goto(place.page(f"job/{id}/edit/"))

    page.get_by_label("email").fill('"no json')
    page.get_by_role("button", name="Save", exact=True).click()

    assert "This is no JSON" in page.locator(".tq-form").inner_text()
    assert page.get_by_label("email").input_value() == '"no json'


def test_a_running_job_is_killed(page: Any, place: Place) -> None:
    (id,) = place.enqueue("print(export_orders.enqueue(2030).id)")
    page.goto(place.page(f"job/{id}/change/"))
    refresh(page)
    page.locator(".tq-head .tq-badge-running").wait_for()
    hold(page)

    page.get_by_role("button", name="Kill").click()
    settled(page, "its process is ended")
    page.get_by_role("button", name="Kill").click()

    refresh(page)
    page.locator(".tq-head .tq-badge-cancelled").wait_for()
    assert "cancelled" in page.locator(".tq-steps").inner_text()


def test_a_queue_is_paused_and_goes_on(page: Any, place: Place) -> None:
    place.enqueue("resize_image.using(queue_name='low').enqueue('dog.jpg').get(timeout=20)")
    page.goto(place.page("queue/low/change/"))
    page.get_by_text("Pause …").click()
    page.get_by_label("Reason, for whoever sees it").fill("the printer is on fire")
    page.get_by_role("button", name="Pause", exact=True).click()
    settled(page, "Paused by ada")
    screen(page, "Queues")
    assert "the printer is on fire" in page.locator(".tq-table").inner_text()

    page.get_by_role("link", name="low", exact=True).click()
    page.get_by_role("button", name="Resume").click()

    page.get_by_text("Pause …").wait_for()
    assert "goes on" in page.locator(".messagelist").inner_text()


def test_a_failure_is_ignored_found_again_and_reopened(page: Any, place: Place) -> None:
    place.enqueue(
        "from tests.conftest import eventually\njob = send_receipt.enqueue(7, 'grace')\n"
        "eventually(lambda: job.refresh() or job.state == 'dead', 20)"
    )
    page.goto(place.page("failure/"))
    group = page.locator(".tq-group", has_text="UnknownMailbox")
    group.locator(".tq-spark rect").first.wait_for()
    group.get_by_text("Ignore …").click()
    group.get_by_label("For", exact=True).select_option("1 week")
    group.get_by_label("Reason, for whoever sees it").fill("the mail is on strike")
    group.get_by_role("button", name="Ignore").click()
    page.locator(".messagelist", has_text="Ignore").wait_for()
    assert group.count() == 0

    page.get_by_role("link", name=re.compile("^Ignored")).click()
    assert "the mail is on strike" in group.inner_text()
    group.get_by_role("button", name="Reopen").click()

    page.get_by_role("link", name=re.compile("^Open")).click()
    group.get_by_role("button", name="Resolve").wait_for()


def test_a_schedule_is_made_looked_at_and_seen_to_run(page: Any, place: Place) -> None:
    page.goto(place.page("schedule/"))
    page.get_by_role("link", name="Add schedule").click()
    page.get_by_label("Name", exact=False).first.fill("thumbnails")
    page.get_by_label("Task").select_option("shop.tasks.resize_image")
    page.get_by_label("Expression").fill("0 0 30 2 *")
    page.get_by_label("Time zone").select_option("Asia/Tokyo")
    page.get_by_role("button", name="Show its arguments").click()
    page.get_by_label("path", exact=False).fill("cat.jpg")
    page.get_by_role("button", name="Preview").click()
    assert "never fires" in page.locator(".errorlist").inner_text()

    page.get_by_label("Expression").fill("30 2 * * *")
    page.get_by_role("button", name="Preview").click()
    assert "at 02:30, every day" in page.locator(".tq-card").inner_text()
    assert page.locator(".tq-runs tbody tr").count() == 5
    page.get_by_label("Expression").fill("@every 1s")
    page.get_by_role("button", name="Save", exact=True).click()

    refresh(page)
    page.locator("td .tq-badge-succeeded").first.wait_for()
    hold(page)
    page.get_by_text("Pause …").click()
    page.get_by_label("For", exact=True).select_option("1 hour")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator(".tq-head .tq-badge-paused").wait_for()
    assert "It goes on" in page.locator(".tq-alert").inner_text()
    screen(page, "Schedules")
    row = page.locator("tr", has_text="thumbnails")
    assert "paused" in row.inner_text()
    assert "every second" in row.inner_text()
    row.get_by_role("link", name="thumbnails").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_role("link", name="Delete").click()
    page.locator("#content input[type=submit]").click()
    page.locator("#tq-live").wait_for()
    assert page.locator("tr", has_text="thumbnails").count() == 0


def test_a_worker_is_asked_where_its_code_is_and_stopped(page: Any, place: Place) -> None:
    other = place.start("-m", "django", "taskq", "worker", "--queues", "default")
    page.goto(place.page("worker/"))
    refresh(page)
    link = page.get_by_role("link", name=f":{other.pid}")
    link.wait_for()
    hold(page)
    link.click()

    page.get_by_role("button", name="Show its stack now").click()
    refresh(page)
    page.locator(".tq-stack", has_text="Thread MainThread").first.wait_for()
    hold(page)
    page.get_by_text("Stop …").click()
    page.locator("details[open] button").click()
    refresh(page)
    settled(page, "does not report any more")

    assert other.wait(20) == 0
    screen(page, "Audit")
    assert "Show its stack now" in page.locator(".tq-table").inner_text()


def test_all_that_match_are_retried_by_a_job(page: Any, place: Place) -> None:
    place.enqueue(
        "jobs = send_receipt.using(queue_name='low').enqueue_many([(n, f'x{n}') for n in range(5)])"
    )
    page.goto(place.page("job/?queue=low&state=dead"))
    refresh(page)
    page.locator("#tq-jobs tbody tr").nth(4).wait_for()
    page.get_by_label("What to do", exact=True).select_option("delete")
    page.get_by_role("button", name=re.compile("^to all")).click()
    page.get_by_role("button", name="Delete", exact=True).click()

    refresh(page)
    settled(page, "5 jobs")


def test_it_pauses_while_somebody_works_and_where_nobody_looks(page: Any, place: Place) -> None:
    page.goto(place.page("job/?state=succeeded"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.locator("input[name=job]").first.check()
    refresh(page)
    page.locator("#tq-live-status", has_text="paused").wait_for()
    assert "fetch" not in asked

    page.locator("input[name=job]").first.uncheck()
    with page.expect_request(lambda request: request.resource_type == "fetch"):
        pass
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    asked.clear()
    page.evaluate("new Promise((done) => setTimeout(done, 2100))")  # longer than its interval
    assert "fetch" not in asked


def fetched(page: Any, times: int = 1) -> None:
    """Waits until the page has refreshed itself."""
    for _ in range(times):
        with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):
            pass
    page.evaluate("new Promise((done) => setTimeout(done, 100))")


FOCUSED = "document.activeElement.textContent.trim()"


def test_a_page_that_is_told_to_stand_still_takes_nothing_that_was_asked_for(
    page: Any, place: Place
) -> None:
    page.goto(place.page("job/?state=succeeded"))
    page.route("**/job/**", lambda route: None)  # a server that takes its time

    with page.expect_request(lambda request: request.resource_type == "fetch"):
        refresh(page)
    with page.expect_event("requestfailed"):
        refresh(page, "0")

    assert page.locator("#tq-live-status").inner_text() == ""


def test_the_focus_stays_with_what_a_button_does(page: Any, place: Place) -> None:
    """In the place of "Cancel" there may be "Retry" a moment later."""
    (id,) = place.enqueue("print(resize_image.using(run_after=9999).enqueue('x').id)")
    page.goto(place.page(f"job/{id}/change/"))
    page.get_by_role("button", name="Cancel", exact=True).focus()
    refresh(page)
    page.get_by_role("button", name="Cancel", exact=True).focus()
    fetched(page)
    assert page.evaluate(FOCUSED) == "Cancel"

    place.enqueue(
        f"from django_taskq.compat import task_backends\n"
        f"task_backends['default'].get_result('{id}').cancel()"
    )
    page.locator(".tq-head .tq-badge-cancelled").wait_for()

    assert page.evaluate("document.activeElement === document.body")
    page.get_by_role("button", name="Retry", exact=True).focus()
    fetched(page)
    assert page.evaluate(FOCUSED) == "Retry"


def test_the_focus_stays_with_one_link_of_many(page: Any, place: Place) -> None:
    page.goto(place.page("job/?state=succeeded"))
    href = page.locator("#tq-jobs tbody th a").last.get_attribute("href")
    refresh(page)
    page.locator(f"#tq-jobs tbody th a[href='{href}']").focus()
    (new,) = place.enqueue("print(resize_image.enqueue('newest.jpg').id)")

    page.locator(f"#tq-jobs input[value='{new}']").wait_for()

    assert page.evaluate("document.activeElement.getAttribute('href')") == href


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("job/?state=succeeded", "#tq-verb"),
        ("job/?state=succeeded", "#tq-q"),
        ("queue/default/change/", "input[name=why]"),
    ],
)
def test_what_was_typed_is_not_refreshed_away(
    page: Any, place: Place, path: str, field: str
) -> None:
    page.goto(place.page(path))
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    box = page.locator(field).first
    if field == "#tq-verb":
        box.select_option("delete")
    else:
        box.fill("half a word")
    box.blur()
    refresh(page)

    page.locator("#tq-live-status", has_text="paused").wait_for()

    assert box.input_value() in ("delete", "half a word")


def test_one_box_ticks_all(page: Any, place: Place) -> None:
    page.goto(place.page("job/?state=succeeded"))

    page.locator("#tq-all").check()

    boxes = page.locator("input[name=job]")
    assert boxes.count() > 0
    assert boxes.count() == page.locator("input[name=job]:checked").count()


def test_it_works_without_a_script(chrome: Any, place: Place) -> None:
    from tests.browser.place import sign_in

    (id,) = place.enqueue("print(resize_image.using(run_after=9999).enqueue('x').id)")
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, place)
    assert page.locator("#tq-live-tools").is_hidden()

    page.goto(place.page("job/?state=scheduled"))
    page.locator(f"input[value='{id}']").check()
    page.get_by_label("What to do", exact=True).select_option("run")
    page.get_by_role("button", name="to the ticked").click()

    assert "1 job done" in page.locator(".messagelist").inner_text()
    context.close()


def test_what_ran_is_in_the_charts_and_their_numbers(page: Any, place: Place) -> None:
    place.enqueue("resize_image.enqueue('charted.jpg')")
    refresh(page)
    page.locator(".tq-charts .tq-fill-succeeded").first.wait_for()
    hold(page)
    assert page.locator(".tq-charts svg").count() in (4, 5)  # the backlog, once it was counted

    page.locator("#tq-past").get_by_role("link", name="Day", exact=True).click()
    page.locator("#tq-numbers summary").click()
    numbers = page.locator("#tq-numbers tbody tr").first
    assert int(numbers.locator("td").first.inner_text()) >= 1

    screen(page, "Task types")
    page.get_by_role("link", name="shop.tasks.resize_image").click()
    assert page.locator(".tq-charts .tq-line-p95").count() >= 1


SCREENS = [
    "dashboard/",
    "queue/",
    "queue/default/change/",
    "job/?state=dead",
    "job/?state=any&q=task:shop.tasks.send_receipt",
    "failure/",
    "failure/?tab=all",
    "tasktype/",
    "tasktype/shop.tasks.resize_image/change/?period=day",
    "worker/",
    "schedule/",
    "schedule/morning-stock/change/",
    "../taskq_schedules/schedule/add/?of=morning-stock",
    "audit/",
    "audit/?where=redis",
    "../taskq_mirror/jobrecord/",
    "../taskq_mirror/jobrecord/?q=import_prices",
    "../taskq_mirror/jobrecord/prune/",
    "../taskq_mirror/jobrecord/ROW/change/",
    "job/bulk/",
    "job/ID/change/",
    "job/ID/edit/",
]


@pytest.fixture(scope="module")
def failed(place: Place) -> str:
    """A job that backs off."""
    (id,) = place.enqueue(
        "import datetime\nfrom tests.conftest import eventually\n"
        "job = import_prices.enqueue('acme', datetime.date(2030, 1, 2))\n"
        "eventually(lambda: job.refresh() or job.state == 'retrying', 20)\nprint(job.id)"
    )
    return id


@pytest.fixture(scope="module")
def row(place: Place, failed: str) -> str:
    """The number of its row in the database."""
    (number,) = place.enqueue(
        "from tests.conftest import eventually\n"
        "from django_taskq.mirror.models import JobRecord\n"
        f"rows = JobRecord.objects.filter(job={failed!r}, state='retrying')\n"
        "print(eventually(lambda: rows.first(), 20).pk)"
    )
    return number


# axe would load what stylesheets import once more, into the page, which its policy forbids.
# Django fades its colours from one theme into the other.
STILL = "Promise.allSettled(document.getAnimations().map((each) => each.finished)).then(() => 0)"
RULES = {"runOnly": ["wcag2a", "wcag2aa"], "preload": False}


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_is_for_everybody(
    page: Any, place: Place, failed: str, row: str, screen: str
) -> None:
    page.goto(place.page(screen.replace("ID", failed).replace("ROW", row)))

    is_for_everybody(page)


def confirm(page: Any, place: Place, failed: str) -> None:
    page.goto(place.page(f"job/{failed}/change/"))
    page.get_by_role("button", name="Move to another queue").click()
    page.get_by_label("To queue").wait_for()


def purge(page: Any, place: Place, failed: str) -> None:
    page.goto(place.page("queue/default/change/?state=succeeded"))
    page.get_by_role("button", name=re.compile("^Purge")).click()
    page.locator("[name=confirmed]").wait_for(state="attached")


def limit(page: Any, place: Place, failed: str) -> None:
    page.goto(place.page("queue/default/change/"))
    page.locator(".tq-limits").get_by_role("link", name=re.compile("^Change")).first.click()
    page.get_by_label("Jobs in a time").fill("fast")
    page.get_by_role("button", name="Change limit").click()
    page.get_by_text("must be a number per time").wait_for()


def worker_detail(page: Any, place: Place, failed: str) -> None:
    page.goto(place.page("worker/"))
    page.locator(".tq-card a[href*='/worker/']").first.click()
    page.get_by_role("link", name="What was done to it").wait_for()


def gone(page: Any, place: Place, failed: str) -> None:
    id = f"{'x' * 22}.{failed.rpartition('.')[2]}"
    assert page.goto(place.page(f"job/{id}/change/")).status == 404


def unreachable(page: Any, place: Place, failed: str) -> None:
    """A key that only one page reads is of another type for a moment."""
    key = (
        "from django_taskq.compat import task_backends\n"
        "b = task_backends['default']\n"
        "k = b.broker.key('default', 'bulks')\n"
    )
    place.enqueue(f"{key}b.server.command('DEL', k)\nb.server.command('SET', k, 'odd')")
    try:
        assert page.goto(place.page("job/bulk/")).status == 503
    finally:
        place.enqueue(f"{key}b.server.command('DEL', k)")


@pytest.mark.parametrize("way", [confirm, purge, limit, worker_detail, gone, unreachable])
def test_a_screen_on_the_way_is_for_everybody(
    chrome: Any, place: Place, signed_in: Any, failed: str, way: Any
) -> None:
    context = chrome.new_context(locale="en-GB", storage_state=signed_in)
    page = context.new_page()
    way(page, place, failed)

    is_for_everybody(page)
    context.close()


@pytest.mark.parametrize(
    "screen", ["dashboard/", "job/", "../taskq_schedules/schedule/add/?of=morning-stock"]
)
def test_a_nonce_is_enough_for_what_is_ours(
    chrome: Any, place: Place, signed_in: Any, screen: str
) -> None:
    """Django's own scripts and styles carry none, so those are refused under such a policy."""
    context = chrome.new_context(locale="en-GB", storage_state=signed_in)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text))

    page.goto(place.page(f"{screen}{'&' if '?' in screen else '?'}nonce=1"))

    if "schedule" not in screen:
        page.locator("#tq-live-tools").wait_for(state="visible")
    ours = "s.href.includes('django_taskq') && s.cssRules.length"
    assert page.evaluate(f"[...document.styleSheets].some((s) => {ours})")
    assert [text for text in refused if "django_taskq" in text] == []
    context.close()


def is_for_everybody(page: Any) -> None:
    """axe finds nothing in light nor dark, and nothing hangs over the edge of a telephone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    said = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.evaluate(STILL)
        found = axe.run(page, context="#content", options=RULES)
        said += [
            f"{theme} {each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for each in found.response["violations"]
            for node in each["nodes"]
        ]
    assert said == []

    page.set_viewport_size({"width": 400, "height": 800})
    over = page.evaluate(
        "[...document.querySelectorAll('.tq *')].filter((e) => !e.closest('.tq-scroll, pre')"
        " && e.getBoundingClientRect().right > 401).map((e) => e.outerHTML.slice(0, 90))"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 400, over


def test_a_keyboard_reaches_everything_and_shows_where_it_is(page: Any, place: Place) -> None:
    page.goto(place.page("job/?state=succeeded"))
    page.get_by_label("What to do", exact=True).focus()

    page.keyboard.press("Tab")

    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert page.evaluate("document.activeElement.textContent") == "to the ticked"
    assert outline == "solid"


# Code and charts that a page turned around.
TURNED = """
[...document.querySelectorAll(".tq code, .tq pre, .tq-id, .tq-frames, .tq-chart")]
    .filter((e) => getComputedStyle(e).direction !== "ltr").map((e) => e.outerHTML.slice(0, 90))
"""


def test_what_is_read_from_the_right_is_laid_out_so(
    chrome: Any, place: Place, signed_in: Any, failed: str
) -> None:
    context = chrome.new_context(
        locale="fa", storage_state=signed_in, viewport={"width": 400, "height": 800}
    )
    page = context.new_page()
    for screen in (
        *("dashboard/", "queue/default/change/", "tasktype/", "job/?state=any"),
        *(f"job/{failed}/change/", "schedule/", "schedule/stock/change/"),
    ):
        page.goto(place.page(screen))
        assert page.evaluate("document.documentElement.dir") == "rtl"
        first = page.locator(".tq-nav a").first.bounding_box()
        last = page.locator(".tq-nav a").nth(2).bounding_box()
        assert first["x"] > last["x"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.evaluate(TURNED) == []
    context.close()

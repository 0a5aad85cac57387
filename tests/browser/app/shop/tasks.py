"""Jobs of a small shop, some of which fail."""

from __future__ import annotations

import json
import time
from datetime import date

from django_taskq import log, periodic, progress, task


class UnknownMailbox(Exception):
    """Nobody can be reached there."""


@task(max_attempts=1, tags=["mail"], timeout=60)
def send_receipt(order_id: int, email: str) -> str:
    """Sends the receipt of an order."""
    deliver(email, f"Receipt for order {order_id}")
    return email


def deliver(address: str, subject: str) -> None:
    if not address.partition("@")[2]:
        raise UnknownMailbox(f"{address!r} has no host: {subject!r} was not sent")


@task(max_attempts=4, backoff=600, tags=["import"])
def import_prices(supplier: str, day: date) -> int:
    """Reads the price list of a supplier."""
    page = '{"prices": [12.5, 9.9,' if supplier == "acme" else '{"prices": [1, 2]}'
    return len(json.loads(page)["prices"])


@task
def resize_image(path: str, width: int = 800) -> str:
    """Makes a smaller copy of an image."""
    return f"{path}.{width}.webp"


@task(sensitive=["api_key"])
def sync_stock(warehouse: str, api_key: str) -> str:
    """Brings our stock in line with a warehouse."""
    return warehouse


@periodic("0 6 * * mon-fri", name="morning-stock", tz="Europe/Berlin", args=["Berlin"])
@periodic("*/30 * * * *", name="stock", args=["Leipzig"])
@task(queue_name="low")
def count_stock(warehouse: str, every: int = 1) -> str:
    """Counts what a warehouse has."""
    return f"{warehouse}: {every}"


@task(queue_name="low", fair_by="shop", fair_weights={"Hamburg": 3})
def report_sales(shop: str, day: int) -> str:
    """Adds up what a shop sold on a day."""
    return f"{shop}: {day}"


@task(timeout=None)
def export_orders(year: int) -> None:
    """Writes all orders of a year; takes its time."""
    log(f"{year}: 9,250 orders to write")
    for month in ("January", "February", "March"):
        log(f"{month} is written")
    progress(2312, 9250, "April")
    while True:
        time.sleep(0.01)

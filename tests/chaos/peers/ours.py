"""The job in django_taskq."""

from __future__ import annotations

import sys

import django

if __name__ == "__main__":
    django.setup()
    from tests.chaos.app.tasks import work

    for each in range(int(sys.argv[1])):
        work.enqueue(each, float(sys.argv[2]))

"""The pages in other languages: every text of a page has its German."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils.translation import gettext, override

import django_taskq
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand

PACKAGE = Path(django_taskq.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
# What is the same word in German.
SAME = {"Queue", "Queues", "Job", "Jobs", "Tag", "Tags", "Task", "Backend", "in", "jobs", "task"}
SAME |= {"queues", "lease", "Workers"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_text_of_a_page_has_its_german(template: Path) -> None:
    text = template.read_text("utf-8")
    said = set(re.findall(r'{% translate "([^"]+)"', text)) | set(re.findall(r'_\("(.+?)"\)', text))

    with override("de"):
        same = {each for each in said if gettext(each) == each}

    assert same <= SAME


def test_a_reader_gets_the_page_in_his_language(ada: Staff, hand: Hand) -> None:
    tasks.fail.using(max_attempts=1).enqueue("x")
    hand.run()

    answer = ada.client.get("/admin/django_taskq/dashboard/", headers={"accept-language": "de"})

    page = answer.content.decode()
    assert "1 Job der Queue default ist tot." in page
    assert "Was scheitert" in page

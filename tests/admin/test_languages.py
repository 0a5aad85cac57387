"""The pages in other languages: every text of a page has its German and its Persian."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

import django_taskq
from tests.admin.conftest import Staff
from tests.engine import tasks
from tests.engine.support import Hand

PACKAGE = Path(django_taskq.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
CODE = sorted(PACKAGE.rglob("*.py"))
CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
LANGUAGES = ("de", "fa")


def folder(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES"


@cache
def catalogue(language: str) -> dict[str, str]:
    """msgid -> msgstr, or the first of them."""
    path = folder(language) / "django.po"
    found: dict[str, str] = {}
    for entry in re.split(r"\n\s*\n", path.read_text("utf-8")):
        said = {"msgid": "", "msgstr": ""}
        name = ""
        for line in entry.splitlines():
            if line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            if word != line and not line.startswith('"'):
                name, line = word.replace("[0]", ""), rest
            if name in said:
                said[name] += ast.literal_eval(line)
        found[said["msgid"]] = said["msgstr"]
    return found


def texts_of(path: Path) -> Iterator[str]:
    """Every text of a page or module that is to be translated."""
    source = path.read_text("utf-8")
    if path.suffix == ".html":
        for found in re.findall(
            r"gettext\(u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", templatize(source)
        ):
            yield ast.literal_eval(found)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", [*TEMPLATES, *CODE], ids=lambda path: path.name)
def test_every_text_is_translated(path: Path, language: str) -> None:
    known = catalogue(language)

    missing = {text for text in texts_of(path) if not known.get(text)}

    assert not missing


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_translated_was_compiled(language: str) -> None:
    """Django reads django.mo: `msgfmt -c -o django.mo django.po`."""
    with (folder(language) / "django.mo").open("rb") as compiled:
        read = GNUTranslations(compiled)

    stale = {id for id, said in catalogue(language).items() if id and text_in(read, id) != said}

    assert not stale


def text_in(read: GNUTranslations, id: str) -> str:
    """What was compiled for a text, of a plural the first form."""
    return str(read._catalog.get(id) or read._catalog.get((id, read.plural(1))))  # type: ignore[attr-defined]


def test_a_reader_gets_the_page_in_his_language(ada: Staff, hand: Hand) -> None:
    tasks.fail.using(max_attempts=1).enqueue("x")
    hand.run()

    answer = ada.client.get("/admin/django_taskq/dashboard/", headers={"accept-language": "de"})

    page = answer.content.decode()
    assert "1 Job der Queue default ist tot." in page
    assert "Was scheitert" in page


def test_a_page_in_persian_is_read_from_the_right(ada: Staff, hand: Hand) -> None:
    tasks.fail.using(max_attempts=1).enqueue("x")
    hand.run()

    answer = ada.client.get("/admin/django_taskq/dashboard/", headers={"accept-language": "fa"})

    page = answer.content.decode()
    assert 'lang="fa" dir="rtl"' in page
    # The name stands between isolates, so that it does not turn the words beside it around.
    name = "\N{FIRST STRONG ISOLATE}default\N{POP DIRECTIONAL ISOLATE}"
    assert f"1 کار از صف {name} مرده است." in page
    assert "چه چیزی شکست می‌خورد" in page

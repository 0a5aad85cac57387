"""The system check that imports every tasks module."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import override_settings

from django_taskq.checks import check_task_modules


def test_tasks_modules_that_import_are_no_trouble() -> None:
    assert check_task_modules() == []


def test_a_tasks_module_with_an_error_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "brokenapp"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text("raise RuntimeError('half done')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(INSTALLED_APPS=["brokenapp"]):
        (problem,) = check_task_modules()
    assert problem.id == "taskq.E002"
    assert "RuntimeError: half done" in problem.msg

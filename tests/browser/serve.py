"""``python -m tests.browser.serve PORT``: the site with a member of staff, ada (password: ada)."""

from __future__ import annotations

import sys

import django

PATIENCE = 20.0  # seconds for which a page waits for its server, as this machine may be busy


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from django_taskq.admin import console

    console.CONNECT = console.ANSWER = PATIENCE
    call_command("migrate", verbosity=0, interactive=False)
    users = get_user_model().objects
    if not users.filter(username="ada").exists():
        users.create_superuser("ada", "ada@example.com", "ada")
    call_command("runserver", f"127.0.0.1:{sys.argv[1]}", use_reloader=False, verbosity=0)


if __name__ == "__main__":
    main()

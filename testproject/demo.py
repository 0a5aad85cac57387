"""``make demo``: the site, its worker and an embedded Valkey, until Ctrl-C.

``python -m testproject.demo [--port N]``. Exit code 0 after Ctrl-C, 1 when something ended by
itself.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from .processes import MANAGE, Interrupted, Site, Trouble, prepare, signals, stop_embedded

PORT = 8000
ADMIN = "admin"


def main() -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="Run the example site.")
    parser.add_argument("--port", type=int, default=PORT, help="of the web server (default: 8000)")
    port = parser.parse_args().port
    with signals():
        try:
            return run(port)
        except Interrupted:  # before there was anything to stop
            return 0


def run(port: int) -> int:
    """Start, tell the addresses, wait, stop."""
    prepare()
    admin = make_admin()
    code = 0
    try:
        site = Site(port)
        try:
            site.start()
            tell(site, admin)
            site.run()
        except Interrupted:
            say("Stopping ...")
        finally:
            site.stop()
    except Trouble as trouble:
        say(f"demo: {trouble}; everything else is stopped")
        code = 1
    stop_server()
    say("Stopped.")
    return code


def stop_server() -> None:
    """Stop the embedded server of the demo."""
    from django.conf import settings

    stop_embedded(settings.VAR)


def make_admin() -> str:
    """Make the admin user on the first start; what to tell about the password."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(username=ADMIN).exists():
        manage = MANAGE.relative_to(Path.cwd()) if MANAGE.is_relative_to(Path.cwd()) else MANAGE
        command = f"{sys.executable} {manage} changepassword {ADMIN}"
        return f"exists with the password it got; for another one: {command}"
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, "admin@example.com", password)
    return f"password {password} (shown this once)"


def tell(site: Site, admin: str) -> None:
    """Print where everything is."""
    from django.conf import settings

    rows = {
        "Site": site.url,
        "Admin": f"{site.url}admin/",
        f"User {ADMIN}": admin,
        "Mails": str(settings.MAIL_DIR),
        "Stop": "Ctrl-C",
    }
    say("\n".join(["", *(f"  {name:<12}{value}" for name, value in rows.items()), ""]))


def say(text: str) -> None:
    """Print at once, between the lines of the processes."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

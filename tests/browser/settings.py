"""The example site with a shop, and under a strict content security policy."""

from __future__ import annotations

from testproject.settings import *  # noqa: F403

INSTALLED_APPS += ["shop"]  # noqa: F405
MIDDLEWARE = ["tests.browser.policy.policy", *MIDDLEWARE]  # noqa: F405
TEMPLATES[0]["OPTIONS"]["context_processors"] += ["tests.browser.policy.nonce"]  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
OPTIONS = TASKS["default"]["OPTIONS"]  # noqa: F405
OPTIONS["WORKER"] = {"concurrency": 4, "lease": 10}
OPTIONS["RELEASE"] = "2.4.2"

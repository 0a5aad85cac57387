"""Settings of the site. The environment, or a file ``.env`` beside the Makefile, may change:

REDIS_URL       the server to use; it beats TASKQ_URL
TASKQ_URL       what the backend's URL is otherwise: an embedded Valkey under TASKQ_VAR
TASKQ_BACKEND   the backend's class, by its dotted name
TASKQ_PREFIX    what the names of all keys begin with
TASKQ_OUTBOX    whether jobs are written into the database with their transaction
TASKQ_VAR       where the database, the mails and the embedded server live
SECRET_KEY, DEBUG, ALLOWED_HOSTS, DATABASE_URL, LOG_LEVEL    as their names say
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import django
import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

VAR = Path(env.str("TASKQ_VAR", default=str(BASE_DIR / "var"))).resolve()
VAR.mkdir(parents=True, exist_ok=True)

# The key is no secret: it is for a site on this machine, with nobody's data in it.
SECRET_KEY = env.str("SECRET_KEY", default="for-development-only-nobody-may-rely-on-this-key")
DEBUG = env.bool("DEBUG", default=True)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "testserver"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "django_taskq",
    "django_taskq.outbox",
    "django_taskq.schedules",
    "django_taskq.mirror",
    "testproject.signup",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "testproject" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{quote(str(VAR / 'db.sqlite3'))}")
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # The site and the worker write at the same time: wait for each other instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "testproject" / "static"]

# Mails are files: nobody gets one by accident, and the smoke run can look at them.
MAIL_DIR = VAR / "mail"
MAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
DEFAULT_FROM_EMAIL = "hello@example.com"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": MAIL_BACKEND, "OPTIONS": {"file_path": str(MAIL_DIR)}}}
else:
    EMAIL_BACKEND = MAIL_BACKEND
    EMAIL_FILE_PATH = str(MAIL_DIR)

TASKS: dict[str, Any] = {
    "default": {
        "BACKEND": env.str("TASKQ_BACKEND", default="django_taskq.backends.RedisBackend"),
        "QUEUES": {"critical": 6, "default": 3, "low": 1},
        "OPTIONS": {
            "URL": env.str("REDIS_URL", default="")
            or env.str("TASKQ_URL", default=f"embedded://{quote(str(VAR / 'valkey'))}"),
            "PREFIX": env.str("TASKQ_PREFIX", default="taskq"),
            "OUTBOX": env.bool("TASKQ_OUTBOX", default=False),
        },
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "datefmt": "%H:%M:%S",
            "style": "{",
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # Django's own handler would write every line a second time.
    "loggers": {"django": {"handlers": [], "level": "INFO"}},
}

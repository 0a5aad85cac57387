"""Schedules that people edit in the database: ``INSTALLED_APPS += ["django_taskq.schedules"]``."""

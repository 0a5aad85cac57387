"""Addresses of a site of one's own."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.urls import path

from django_taskq.admin import register

site = AdminSite(name="backoffice")
register(site)

urlpatterns = [path("backoffice/", site.urls)]

"""The app's addresses."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "signup"
urlpatterns = [
    path("", views.signup, name="signup"),
    path("jobs/<str:job_id>/", views.job, name="job"),
]

"""How Sphinx builds the documentation."""

from __future__ import annotations

import tomllib
from pathlib import Path

metadata = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))

project = "django_taskq"
author = copyright = "django_taskq contributors"
release = metadata["project"]["version"]

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]  # a plain fence, so that code hosts draw it too
nitpicky = True

html_theme = "alabaster"
html_title = f"{project} {release}"

"""Certificates for one test: an authority, a server's, a client's; made by the openssl program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; everything lies in one directory."""

    def __init__(self, home: Path) -> None:
        if shutil.which("openssl") is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no openssl here")
        self.home = home
        self.certificate = home / "ca.crt"
        self._key = home / "ca.key"
        self._run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", self._key, "-out", self.certificate, "-subj", "/CN=test authority"),
            # Python 3.13 checks what RFC 5280 asks of an authority.
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def sign(self, name: str) -> Pair:
        """A pair for a server on the loopback interface, or for a client."""
        pair = Pair(self.home / f"{name}.crt", self.home / f"{name}.key")
        request, names = self.home / f"{name}.csr", self.home / f"{name}.ext"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-keyout", pair.key, "-out", request),
            *("-subj", f"/CN={name}"),
        )
        self._run(
            *("x509", "-req", "-days", "1", "-in", request, "-out", pair.certificate),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-extfile", names),
        )
        return pair

    @staticmethod
    def _run(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

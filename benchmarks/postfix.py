"""Postfix's test programs, where they are installed: smtp-source, what a client in C reaches, and smtp-sink."""

import os
import shutil
import socket
import subprocess
import time
from typing import Self

_PLACES = "/usr/sbin:/usr/lib/postfix/sbin:/usr/libexec/postfix:/usr/local/sbin:/usr/local/bin:/usr/bin"
_PATIENCE = 10.0


def find(name: str) -> str:
    """Where a program is; empty where it is not installed."""
    return shutil.which(name, path=_PLACES) or ""


class SmtpSink:
    """smtp-sink, from outside: a second server, so that nothing hangs on ours."""

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        self._process = subprocess.Popen((find("smtp-sink"), *user, f"127.0.0.1:{self.port}", "1000"))
        begin = time.monotonic()
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() - begin > _PATIENCE:
                self.__exit__()
                raise RuntimeError("smtp-sink did not start")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

"""A process that uses the embedded server: does what it reads, answers each line with one line.

ensure | revive | release    the function of that name; answers with the socket's path
fork | fork release          a child that goes on (or leaves the server); answers with its pid
spawn                        a program that gets every inheritable descriptor; answers with its pid
churn N                      N times: ensure, write, release; answers with the failures
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from django_taskq.broker import embedded, keeper


def main(directory: str, persist: str, linger: str) -> None:
    """Serve the lines of standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    for line in sys.stdin:
        try:
            answer = obey(line.split(), directory, persist == "yes", float(linger))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(answer.replace("\n", " | "), flush=True)


def obey(words: list[str], directory: str, persist: bool, linger: float) -> str:
    """Carry out one line."""
    match words:
        case ["ensure"]:
            return str(embedded.ensure(directory, persist=persist, linger=linger))
        case ["revive"]:
            return str(embedded.revive(directory))
        case ["release"]:
            embedded.release(directory)
            return "released"
        case ["fork", *rest]:
            return fork(directory, leave=bool(rest))
        case ["spawn"]:
            sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
            return str(subprocess.Popen(sleeper, close_fds=False, stdin=subprocess.DEVNULL).pid)
        case ["churn", count]:
            return churn(directory, linger, int(count))
    raise ValueError(words)


def fork(directory: str, *, leave: bool) -> str:
    """A child that only lives, once it has told its parent that it is set up."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        if leave:
            embedded.release(directory)
        os.write(tell, b".")
        signal.pause()
    os.read(told, 1)
    return str(pid)


def churn(directory: str, linger: float, count: int) -> str:
    """Come, write and go again and again."""
    failures = []
    for _ in range(count):
        try:
            socket = embedded.ensure(directory, linger=linger)
            answer = keeper.ask(str(socket), "INCR", "visits", timeout=30.0)
            if not answer.startswith(b":"):
                failures.append(repr(answer))
        except Exception as error:
            failures.append(repr(error))
        embedded.release(directory)
    return f"failures: {failures}"


if __name__ == "__main__":
    main(*sys.argv[1:])

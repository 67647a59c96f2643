"""Where the servers keep their files, and the lock that keeps a second parent out."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import BinaryIO

from smsblossom.embedded.accounts import Account, can_enter, choose, give, owner_of
from smsblossom.embedded.errors import EmbeddedError

_FAR = Path("/var/tmp")  # noqa: S108  every entry made there is private (0700), and checked to be before it is used
# A socket's path fits 103 bytes on macOS, 107 on Linux; PostgreSQL adds 18 for its lock file. Plain characters only,
# so that no reader of a URL has to unquote it (arq does not).
_LONGEST_SOCKET_FOLDER = 80
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")


@dataclass(frozen=True, slots=True)
class Places:
    work: Path
    account: Account | None

    @property
    def postgres(self) -> Path:
        return self.work / "postgres"

    @property
    def redis(self) -> Path:
        return self.work / "redis"

    @property
    def sockets(self) -> Path:
        return sockets_of(self.work)

    @property
    def binaries(self) -> Path:
        return self.work / "binaries"

    def log(self, name: str) -> Path:
        return self.work / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.work / f"{name}.pid"


def sockets_of(work: Path) -> Path:
    """A folder short and plain enough for socket paths and URLs; the same one for every process that asks."""
    near = work / "run"
    if len(os.fsencode(near)) <= _LONGEST_SOCKET_FOLDER and _PLAIN.issuperset(str(near)):
        return near
    return _FAR / f"smsblossom-{sha256(os.fsencode(work)).hexdigest()[:16]}"


@contextmanager
def occupied(home: Path, say: Callable[[str], None]) -> Iterator[Places]:
    """Hold the folder for this process alone; EmbeddedError when another one has it.

    The files lie in `home/servers`, which is a link into /var/tmp when we are root and the unprivileged user of the
    servers cannot enter `home`.
    """
    with ExitStack() as stack:
        try:
            places = _enter(home.absolute(), stack, say)
        except PermissionError as exc:
            raise EmbeddedError(f"{exc.filename} cannot be used by this user: choose another folder.") from exc
        yield places


def _enter(home: Path, stack: ExitStack, say: Callable[[str], None]) -> Places:
    home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    stack.enter_context(_lock(home / "servers.lock", home))
    places = _work(home / "servers", say)
    # A second lock, because a copied home leads to the same place.
    stack.enter_context(_lock(places.work / "lock", home))
    for private in (places.sockets, places.redis):
        _make_private(private, places.account)
    if places.sockets.parent == _FAR:
        stack.callback(shutil.rmtree, places.sockets, ignore_errors=True)
    return places


def is_occupied(home: Path) -> bool:
    """Whether some process holds the folder at this moment."""
    try:
        with (home / "servers.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove(home: Path) -> None:
    """Delete the servers' files of this folder wherever they are; EmbeddedError while a process runs them."""
    if is_occupied(home):
        raise EmbeddedError(f"A process still runs the servers of {home}: stop it first.")
    link = home / "servers"
    shutil.rmtree(link.resolve(), ignore_errors=True)
    link.unlink(missing_ok=True)
    (home / "servers.lock").unlink(missing_ok=True)


@contextmanager
def _lock(path: Path, home: Path) -> Iterator[None]:
    with append_to(path) as file:
        for pause in (0.02, 0.05, 0.1, None):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if pause is None:
                    message = f"Another process already runs the servers of {home}: stop it first."
                    raise EmbeddedError(message) from None
                sleep(pause)  # somebody may only be looking (is_occupied)
        yield


def _work(link: Path, say: Callable[[str], None]) -> Places:
    if link.is_symlink() and not link.exists():
        say(f"The servers' files in {link.readlink()} are gone; starting with empty ones.")
        link.unlink()
    if link.exists():
        return _again(link.resolve())
    account = choose()
    link.mkdir(mode=0o700)
    give(link, account)
    if can_enter(account, link):
        return Places(link.resolve(), account)
    link.rmdir()
    far = Path(tempfile.mkdtemp(prefix="smsblossom-", dir=_FAR))
    give(far, account)
    link.symlink_to(far)
    say(f"The servers' user cannot enter {link.parent}; their files are in {far}.")
    return Places(far, account)


def _again(work: Path) -> Places:
    account = owner_of(work)
    if account is None:  # we are that owner; or we are root and were killed before the folder was handed over
        account = choose()
        give(work, account)
    return Places(work, account)


def append_to(path: Path) -> BinaryIO:
    """Open for appending, never through a link: as root we write in a folder that the servers' user owns."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")


def _make_private(folder: Path, account: Account | None) -> None:
    """Create it, or accept one that only the servers' user can have made."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        entry = folder.lstat()
        owner = os.geteuid() if account is None else account.uid
        if not stat.S_ISDIR(entry.st_mode) or entry.st_uid not in {owner, os.geteuid()} or entry.st_mode & 0o077:
            raise EmbeddedError(f"{folder} is not a private folder of the servers' user: delete it.") from None
    give(folder, account)

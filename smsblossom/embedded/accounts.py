"""Whom the servers run as: ourselves, or as root an unprivileged user, since PostgreSQL refuses root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from smsblossom.embedded.errors import EmbeddedError

_CANDIDATES = ("postgres", "nobody", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int


def choose() -> Account | None:
    """None when the servers run as ourselves; as root the first unprivileged user that exists and can be become."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = Account(entry.pw_uid, entry.pw_gid)
        if entry.pw_uid != 0 and can_enter(account, Path("/")):
            return account
    raise EmbeddedError(
        f"PostgreSQL does not run as root and no other user can be used (tried {', '.join(_CANDIDATES)}): "
        "run as a plain user, or add the user `nobody`."
    )


def owner_of(directory: Path) -> Account | None:
    """Whom the servers must run as to use what is in this directory already."""
    entry = directory.stat()
    if entry.st_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise EmbeddedError(f"{directory} belongs to another user (id {entry.st_uid}): run as that user, or delete it.")
    return Account(entry.st_uid, entry.st_gid)


def can_enter(account: Account | None, path: Path) -> bool:
    """Whether the account may search this directory or execute this file, found out by trying as that account."""
    if account is None:
        return os.access(path, os.X_OK)
    try:
        tried = subprocess.run(  # noqa: S603  a fixed shell line; the path is an argument
            ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:  # in a user namespace that maps root only, nobody else can be become
        return False
    return tried.returncode == 0


def give(directory: Path, account: Account | None) -> None:
    """Hand a directory that we have just created to the account."""
    if account is not None:
        os.chown(directory, account.uid, account.gid)

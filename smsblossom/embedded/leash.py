"""Become a server that dies with its parent. Run as a script; uses nothing but the standard library.

    python -I -S leash.py PARENT UID GID SIGNAL PID_FILE DIRECTORY COMMAND...

A fresh process rather than `preexec_fn`, which may deadlock a parent that has threads. The death signal survives
`exec` but not a change of user, hence the order; and the new user may be unable to read Python's library, so that
nothing is imported after the change. UID -1 leaves the user as it is.
"""

import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def _death_signal() -> Callable[[int, int], object]:
    """Linux's prctl; elsewhere, and in a Python without libffi, nothing: the next start ends what is left over."""
    try:
        from ctypes import CDLL

        prctl: Callable[[int, int], object] = CDLL(None).prctl
    except (ImportError, AttributeError):
        return lambda _option, _signal: None
    return prctl


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _note(pid_file: str) -> None:
    """Whole or not at all: somebody may be reading it."""
    new = f"{pid_file}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, b"%d\n" % os.getpid())
    os.close(descriptor)
    os.rename(new, pid_file)  # noqa: PTH104  pathlib may be beyond the new user's reach


def main(argv: list[str]) -> None:
    # Python's own handler only makes a note, which `exec` would forget.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent, uid, gid, death_signal = map(int, argv[:4])
    pid_file, directory, *command = argv[4:]
    prctl = _death_signal()
    os.setsid()  # a Ctrl-C in the terminal is for the parent, which stops its servers in order
    if uid >= 0:
        _become(uid, gid)
    os.umask(0o077)
    prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended before the signal was set
    os.chdir(directory)
    _note(pid_file)
    # A clean environment: PGPORT, PGOPTIONS and their like must not reach the server.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    os.execve(command[0], command, environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])

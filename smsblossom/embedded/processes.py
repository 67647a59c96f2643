"""Start, watch, restart and stop one server process; end what a killed parent left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from smsblossom.embedded.accounts import Account
from smsblossom.embedded.errors import EmbeddedError
from smsblossom.embedded.places import append_to

Say = Callable[[str], None]

READY_WITHIN = 120.0
"""Seconds; a crash recovery reads at most a checkpoint's worth of log, which takes a few."""

_LEASH = Path(__file__).with_name("leash.py")
_NEWS_AFTER = 2.0
_FIRST_DELAYS = (0.2, 0.4, 0.8, 1.6)
_LONGEST_DELAY = 10.0
_POLL = 0.02
_CANCEL_AGAIN = 0.2
_SIGNAL_AGAIN = 1.0
_LOG_LINES = 8
_LOG_KEPT = 5_000_000


@dataclass(frozen=True, slots=True)
class Program:
    """One server. `data` must be among the command's words: that is how a left-over process is recognised."""

    name: str
    command: tuple[str, ...]
    data: Path
    pid_file: Path
    log: Path
    account: Account | None
    stop: tuple[tuple[signal.Signals, float], ...]
    """Signals in turn, each with the seconds it is given; the first one also comes when the parent dies."""
    answers: Callable[[], Awaitable[bool]]
    clear: Callable[[], None] = lambda: None
    """Take away what a killed server left in the way of the next start."""


@asynccontextmanager
async def running(program: Program, say: Say) -> AsyncIterator[None]:
    """Run the server inside the context and restart it whenever it ends by itself. Afterwards it is gone."""
    server = Server(program, say)
    try:
        await server.start()
        watch = asyncio.create_task(server.watch(), name=f"watch {program.name}")
        try:
            yield
        finally:
            while not watch.done():
                watch.cancel()  # more than once: a client library may swallow it while it connects
                await asyncio.wait([watch], timeout=_CANCEL_AGAIN)
    finally:
        await server.stop()


class Server:
    """A program and the process it has at the moment."""

    def __init__(self, program: Program, say: Say) -> None:
        self._program = program
        self._say = say
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it answers; EmbeddedError with the end of its log when it will not."""
        # Children of a killed server need a moment to notice before they let go of its memory.
        for delay in _FIRST_DELAYS:
            try:
                await self._start_once()
            except EmbeddedError:
                await asyncio.sleep(delay)
            else:
                return
        await self._start_once()

    async def watch(self) -> None:
        """Start the server again each time it ends, sooner when it had run for a while."""
        delay = _FIRST_DELAYS[0]
        while True:
            began = monotonic()
            assert self._process is not None
            code = await self._process.wait()
            if monotonic() - began > _LONGEST_DELAY:
                delay = _FIRST_DELAYS[0]
            self._say(f"{self._program.name} {_ending(code)}; starting it again.")
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            try:
                await self._start_once()
            except (EmbeddedError, OSError) as exc:
                self._say(str(exc))

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        async with news(self._say, f"Stopping {self._program.name} ..."):
            for number, patience in (*self._program.stop, (signal.SIGKILL, READY_WITHIN)):
                if await _ended(process, number, patience):
                    return

    async def _start_once(self) -> None:
        program = self._program
        await end_orphan(program, self._say)
        program.clear()
        _trim(program.log)
        process = self._process = await spawn(
            program.command, program.account, program.log, program.pid_file, dies_by=program.stop[0][0]
        )
        async with news(self._say, f"Waiting for {program.name} ..."):
            await _answered(program, process)
        if process.returncode is not None:
            raise _failed(program, _ending(process.returncode))


async def _ended(process: asyncio.subprocess.Process, number: signal.Signals, patience: float) -> bool:
    """Signal until the process ends or the patience does.

    Every second anew: what comes while the leash is still becoming the server is lost. Both servers take the
    first and ignore the rest.
    """
    deadline = monotonic() + patience
    while monotonic() < deadline:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(patience, _SIGNAL_AGAIN)):
                await process.wait()
                return True
    return False


async def _answered(program: Program, process: asyncio.subprocess.Process) -> None:
    """Return when the server answers or its process has ended."""
    try:
        async with asyncio.timeout(READY_WITHIN):
            while process.returncode is None and not await program.answers():  # noqa: ASYNC110  it cannot tell us
                await asyncio.sleep(_POLL)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise _failed(program, f"did not answer within {READY_WITHIN:.0f} s") from None


def _failed(program: Program, how: str) -> EmbeddedError:
    return EmbeddedError(f"{program.name} {how}. The end of {program.log}:\n{tail(program.log)}")


async def spawn(
    command: tuple[str, ...], account: Account | None, log: Path, pid_file: Path, *, dies_by: signal.Signals
) -> asyncio.subprocess.Process:
    """Start a command through the leash, its output appended to the log.

    Always on the thread of the event loop: the parent's death signal is sent when the thread that forked ends.
    """
    uid, gid = (account.uid, account.gid) if account is not None else (-1, -1)
    leash = [_LEASH, os.getpid(), uid, gid, int(dies_by), pid_file, pid_file.parent]
    with append_to(log) as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", *map(str, leash), *command,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


async def end_orphan(program: Program, say: Say) -> None:
    """Stop, in order, a server of a parent that was killed.

    Taken over rather than kept: only a child of ours can be waited for, and dies with us.
    """
    for number, patience in (*program.stop, (signal.SIGKILL, READY_WITHIN)):
        pid = orphan(program)
        if pid is None:
            return
        async with news(say, f"Stopping the {program.name} that a killed parent left behind ..."):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = monotonic() + patience
            while orphan(program) == pid and monotonic() < deadline:  # noqa: ASYNC110  no child of ours: nothing to wait on
                await asyncio.sleep(_POLL)
    if (pid := orphan(program)) is not None:
        raise EmbeddedError(f"{program.name} of a killed parent does not end: end process {pid} yourself.")


def orphan(program: Program) -> int | None:
    """The process named by the pid file, when it is alive and is the server of this very data folder."""
    try:
        pid = int(program.pid_file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return pid if has_word(pid, str(program.data)) else None


def has_word(pid: int, word: str) -> bool:
    """Whether this is one of the words of a live process's command line; an unreaped dead process has none."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsencode(word) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  fixed words and a number
    return f" {word} " in f" {os.fsdecode(asked.stdout).strip()} "


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])


def _trim(log: Path) -> None:
    """Keep the log and one before it."""
    if log.exists() and log.stat().st_size > _LOG_KEPT:
        log.rename(log.with_suffix(".log.1"))


@asynccontextmanager
async def news(say: Say, sentence: str) -> AsyncIterator[None]:
    """Say the sentence when the work inside takes more than two seconds."""
    timer = asyncio.get_running_loop().call_later(_NEWS_AFTER, say, sentence)
    try:
        yield
    finally:
        timer.cancel()

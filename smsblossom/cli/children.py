"""Child processes of a local run: started, started again when they die, stopped in order."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, Final

from smsblossom.bootstrap import process_number
from smsblossom.embedded.errors import EmbeddedError
from smsblossom.embedded.processes import news

Say = Callable[[str], None]

_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 15.0
_STOP: Final = ((signal.SIGTERM, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""The second SIGTERM makes a worker give back what it runs."""
_LOG_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Program:
    """`log` None: the child writes to this terminal."""

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    log: Path | None


class Child:
    """A program and the process it has at the moment."""

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self._say = say
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process. On the event loop's own thread: the death signal is sent when the forking thread ends."""
        program = self.program
        words = ["-m", "smsblossom.cli.tethered", str(process_number()), program.module, *program.arguments]
        output = _open(program.log)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output or sys.stderr,
                stderr=output,
                env=dict(program.environment),
            )
        finally:
            if output:
                output.close()

    async def watch(self) -> None:
        """Start it again each time it ends, sooner when it had run for a while."""
        delay_s = _FIRST_DELAY_S
        while True:
            began = monotonic()
            assert self._process is not None
            code = await self._process.wait()
            if monotonic() - began > _LONGEST_DELAY_S:
                delay_s = _FIRST_DELAY_S
            self._say(f"{self.program.name} {_ending(code)}; starting it again in {delay_s:g} s.")
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            await self.start()

    async def failure(self) -> EmbeddedError:
        """Wait for the process to end, which it should not; why, in one line, with where to read more."""
        assert self._process is not None
        code = await self._process.wait()
        log = self.program.log
        more = "" if log is None else f". The end of {log}:\n{_tail(log)}"
        return EmbeddedError(f"{self.program.name} {_ending(code)} while starting{more}")

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        async with news(self._say, f"Stopping {self.program.name} ..."):
            for number, patience_s in _STOP:
                try:
                    process.send_signal(number)
                    async with asyncio.timeout(patience_s):
                        await process.wait()
                except ProcessLookupError:
                    return
                except TimeoutError:
                    continue
                return


@asynccontextmanager
async def started(program: Program, say: Say) -> AsyncIterator[Child]:
    """The running child; stopped afterwards. It is not watched yet: see `watched`."""
    child = Child(program, say)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


@asynccontextmanager
async def watched(children: tuple[Child, ...]) -> AsyncIterator[None]:
    """Start these children again whenever they die, until the body ends."""
    tasks = [asyncio.create_task(child.watch(), name=f"watch {child.program.name}") for child in children]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _open(log: Path | None) -> IO[bytes] | None:
    if log is None:
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _ending(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line[:300]}" for line in lines[-_LOG_LINES:])

"""Write down who did what, and report it.

An action that has a transaction writes its audit row inside it (`store.audit.add`): both commit or neither. `record`
is for actions without one, such as queue control and reads by the API. It never fails the action: what PostgreSQL
does not take goes to a spool, a folder of sealed lines on this machine, and `replay` brings it in later.
"""

import asyncio
import base64
import binascii
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain.ids import SYSTEM, ShopId
from smsblossom.store import audit
from smsblossom.store.audit import AuditEntry, Tally
from smsblossom.store.engine import StoreUnavailable
from smsblossom.store.ids import new_id
from smsblossom.vault import Undecipherable, Vault

log = structlog.get_logger()

CLEANED: Final = "audit.cleaned"
REPLAY_EVERY_S: Final = 10.0
_BATCH: Final = 1000
_WRITE_WITHIN_S: Final = 3.0
_SUFFIX, _TAKEN, _BROKEN = ".spool", ".replaying", ".broken"


async def record(
    runtime: Runtime,
    *,
    actor: str,
    action: str,
    shop_id: ShopId = SYSTEM,
    entity: str | None = None,
    details: dict[str, Any] | None = None,
    request_id: str | None = None,
    ip: str | None = None,
) -> None:
    """Write one audit row, or spool it. Raises nothing but the caller's own cancellation."""
    entry = AuditEntry(
        shop_id=shop_id,
        actor=actor,
        action=action,
        at=runtime.now(),
        entity=entity,
        details=details or {},
        request_id=request_id,
        ip=ip,
    )
    await record_many(runtime, [entry])


async def record_many(runtime: Runtime, entries: Sequence[AuditEntry]) -> None:
    """`record` for several rows: all of them are written, or all are spooled."""
    if not entries:
        return
    try:
        async with asyncio.timeout(_WRITE_WITHIN_S * (1 + len(entries) // _BATCH)):
            await _write(runtime, entries)
    except asyncio.CancelledError:
        await asyncio.shield(_spool(runtime, entries))
        raise
    except Exception as error:  # noqa: BLE001 - whatever kept the row out, the action goes on and the row is kept
        log.warning("audit.spooled", rows=len(entries), error=type(error).__name__)
        await _spool(runtime, entries)


async def replay(runtime: Runtime) -> int:
    """Bring the spools of this machine into PostgreSQL; how many rows. A file goes when all its rows are in.

    Raises:
        StoreUnavailable: what is left stays for the next time.

    """
    spool = Spool(runtime.settings.audit_spool, runtime.vault)
    total = 0
    for taken in await asyncio.to_thread(spool.take):
        entries, broken = await asyncio.to_thread(spool.read, taken)
        broken += await _write_each(runtime, spool, entries)
        await asyncio.to_thread(spool.finish, taken, broken)
        total += len(entries)
        log.info("audit.replayed", rows=len(entries), broken=len(broken))
    return total


@asynccontextmanager
async def replaying(runtime: Runtime) -> AsyncIterator[None]:
    """Bring spooled rows in while the body runs, every REPLAY_EVERY_S: in each process that has a disk of its own."""
    task = asyncio.create_task(_keep_replaying(runtime), name="audit-replay")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _keep_replaying(runtime: Runtime) -> None:
    while True:
        try:
            await replay(runtime)
        except StoreUnavailable:
            log.debug("audit.replay_waits")
        except Exception:
            log.exception("audit.replay_failed")
            runtime.metrics.loop_errors.labels(where="audit.replay").inc()
        await asyncio.sleep(REPLAY_EVERY_S)


async def clean(runtime: Runtime) -> dict[str, int]:
    """Drop audit rows older than AUDIT_DAYS, in batches, and leave one row that says so."""
    now = runtime.now()
    before = now - timedelta(days=runtime.settings.audit_days)
    total = 0
    while True:
        async with runtime.store.sweeper() as connection:
            gone = await audit.clean(connection, before=before, limit=_BATCH)
        total += gone
        if gone < _BATCH:
            break
    if total:
        details = {"rows": total, "before": before.isoformat()}
        await record(runtime, actor="system", action=CLEANED, details=details)
    return {"audit_rows": total}


async def report(
    runtime: Runtime, *, since: datetime | None = None, until: datetime | None = None, shop_id: ShopId | None = None
) -> list[Tally]:
    """What was done how often by whom over [since, until), for one shop or for all."""
    async with runtime.store.sweeper() as connection:
        return await audit.report(connection, since=since, until=until, shop_id=shop_id)


async def listing(
    runtime: Runtime,
    *,
    limit: int,
    shop_id: ShopId | None = None,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditEntry]:
    """Audit rows, newest first."""
    async with runtime.store.sweeper() as connection:
        return await audit.listing(
            connection, limit=limit, shop_id=shop_id, actor=actor, action=action, since=since, until=until
        )


async def _write(runtime: Runtime, entries: Sequence[AuditEntry]) -> None:
    async with runtime.store.transaction(*sorted({entry.shop_id for entry in entries})) as connection:
        await audit.add_many(connection, entries)


async def _write_each(runtime: Runtime, spool: "Spool", entries: Sequence[AuditEntry]) -> list[bytes]:
    """Write all in one go, or one by one where a row is refused; the lines of those that PostgreSQL will never take."""
    for first in range(0, len(entries), _BATCH):
        page = entries[first : first + _BATCH]
        try:
            await _write(runtime, page)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - one bad row must not keep the others out
            return [line for entry in entries[first:] for line in await _write_alone(runtime, spool, entry)]
    return []


async def _write_alone(runtime: Runtime, spool: "Spool", entry: AuditEntry) -> list[bytes]:
    try:
        await _write(runtime, [entry])
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("audit.row_refused", audit_id=str(entry.id), action=entry.action)
        return [spool.line(entry)]
    return []


async def _spool(runtime: Runtime, entries: Sequence[AuditEntry]) -> None:
    spool = Spool(runtime.settings.audit_spool, runtime.vault)
    name = str(runtime.process_id)
    try:
        await asyncio.to_thread(spool.append, name, entries)
    except OSError:
        # Neither the database nor the disk: the log is the last place that can hold it.
        for entry in entries:
            log.exception("audit.not_spooled", audit_id=str(entry.id), action=entry.action, actor=entry.actor)


class Spool:
    """Audit rows on disk: a folder (0700) with one file (0600) per process, a sealed row per line, synced."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self._folder = folder
        self._vault = vault

    def line(self, entry: AuditEntry) -> bytes:
        sealed = self._vault.encrypt(SYSTEM, msgspec.msgpack.encode(entry))
        return base64.b64encode(sealed) + b"\n"

    def append(self, name: str, entries: Sequence[AuditEntry]) -> None:
        """Add these rows to the process's file; they are on the disk when this returns."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self._folder / f"{name}{_SUFFIX}", b"".join(map(self.line, entries)))

    def take(self) -> list[Path]:
        """Set the files aside for reading, so that their writers begin new ones. Also those set aside before."""
        if not self._folder.is_dir():
            return []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            self._set_aside(path)
        return sorted(self._folder.glob(f"*{_TAKEN}"))

    def read(self, path: Path) -> tuple[list[AuditEntry], list[bytes]]:
        """The rows of a file, and the lines that are none: torn by a crash, or sealed with a key that is gone."""
        entries, broken = [], []
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:  # another process has brought it in
            return [], []
        for line in filter(bytes.strip, lines):
            try:
                sealed = base64.b64decode(line.strip(), validate=True)
                entries.append(msgspec.msgpack.decode(self._vault.decrypt(SYSTEM, sealed), type=AuditEntry))
            except (binascii.Error, Undecipherable, msgspec.DecodeError):
                broken.append(line)
        return entries, broken

    def finish(self, path: Path, broken: Sequence[bytes]) -> None:
        """Delete a file whose rows are in; lines that could not be brought in are kept aside for a person."""
        if broken:
            log.error("audit.lines_kept_aside", lines=len(broken))
            self._write(self._folder / f"lines{_BROKEN}", b"".join(broken))
        path.unlink(missing_ok=True)

    def _write(self, path: Path, lines: bytes) -> None:
        while True:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not _is_still(path, descriptor):
                    continue
                with os.fdopen(os.dup(descriptor), "ab") as file:
                    # A new line first: the last write may have been torn by a full disk.
                    file.write(b"\n" + lines)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                os.close(descriptor)
            self._sync_folder()
            return

    def _sync_folder(self) -> None:
        """A new file's name too must be on the disk."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _set_aside(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                # A writer holds the lock from its look at the name to its last byte.
                fcntl.flock(file, fcntl.LOCK_EX)
                if _is_still(path, file.fileno()):
                    # A name never used before: another process may be about to delete the last one.
                    path.rename(self._folder / f"{path.stem}-{new_id()}{_TAKEN}")
        except FileNotFoundError:
            return


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the open file still goes by this name."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False

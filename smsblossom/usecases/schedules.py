"""Schedules: what runs when. Rows say so; any number of schedulers may look at them, and each tick fires once.

Firing is two steps. One transaction locks the schedule's row, moves it to its next tick and writes the tick down as a
row. Then the tick's job goes onto its queue, under an id made of schedule and tick. The tick's row stays open until the
job has ended: a scheduler that died between the steps, or a Redis that lost the job, leaves a row that the next round
finds.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from smsblossom.bootstrap import Runtime
from smsblossom.domain import schedules as domain
from smsblossom.domain.ids import SYSTEM, ShopId
from smsblossom.domain.schedules import CatchUp, ScheduleError, Timing
from smsblossom.jobs import Job
from smsblossom.queue.client import Add
from smsblossom.queue.connection import QueueUnavailable
from smsblossom.queue.jobinfo import JobInfo, JobState
from smsblossom.queue.registry import Registry
from smsblossom.store import audit, schedules
from smsblossom.store.engine import Connection
from smsblossom.store.schedules import Plan, Schedule, Tick, TickState
from smsblossom.usecases.manage import Refused

log = structlog.get_logger()

LOOK_AGAIN_IN: Final = timedelta(seconds=30)
"""Less than the ten minutes for which a queue keeps a result: an ended job is seen before it is forgotten."""
UNKNOWN_IN: Final = timedelta(minutes=15)
"""How long a tick waits for a release that knows its function."""
_AT_ONCE: Final = 100
_OURS: Final = frozenset({"shop_id", "request_id", "created_at"})
_UPKEEP: Final = "housekeeping:run"


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """`function` as its queue knows it, `arguments` what its job type asks for besides shop, request id and time."""

    name: str
    function: str
    timing: Timing
    arguments: dict[str, Any] = {}
    catch_up: CatchUp = CatchUp.ONCE


def upkeep(now: datetime) -> tuple[NewSchedule, ...]:
    """The system's own repeatable jobs. Their hours are UTC, at night in most of Europe and America."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    timings: tuple[tuple[str, Timing], ...] = (
        ("expire", domain.Cron("17 3 * * *")),
        ("audit_cleanup", domain.Cron("27 3 * * *")),
        ("purge", domain.Cron("37 3 * * *")),
        ("redrive", domain.Every(timedelta(minutes=5), midnight)),
    )
    return tuple(
        NewSchedule(name=f"housekeeping.{kind}", function=_UPKEEP, arguments={"type": kind}, timing=timing)
        for kind, timing in timings
    )


async def seed(runtime: Runtime) -> int:
    """Give the system the upkeep it does not have yet; how many schedules are new. Changed ones stay changed."""
    now = runtime.now()
    async with runtime.store.transaction(SYSTEM) as connection:
        added = [await schedules.add(connection, SYSTEM, _plan(new, now), now=now) for new in upkeep(now)]
    return sum(schedule_id is not None for schedule_id in added)


def timing_of(
    *, cron: str | None, timezone: str | None, every: str | None, at: datetime | None, now: datetime
) -> Timing:
    """The one timing that was given.

    Raises:
        Refused: none or several, or one that cannot be used.

    """
    if sum(given is not None for given in (cron, every, at)) != 1:
        raise Refused('timing: give one of --cron, --every and --at; for example --cron "0 9 * * MON-FRI"')
    if timezone is not None and cron is None:
        raise Refused("timezone: belongs to --cron; an interval and a moment have none")
    try:
        if cron is not None:
            return domain.cron(cron, timezone or "UTC")
        if every is not None:
            return domain.every(every, now + domain.interval_of(every))
    except ScheduleError as error:
        raise Refused(str(error)) from error
    assert at is not None
    if at <= now:
        raise Refused(
            f"at: {at.isoformat()} has passed; for example --at {(now + timedelta(days=1)).isoformat('T', 'seconds')}"
        )
    return domain.Once(at.astimezone(UTC))


async def save(
    runtime: Runtime, registry: Registry, new: NewSchedule, *, shop_id: ShopId = SYSTEM, actor: str, replace: bool
) -> Schedule:
    """Add a schedule, or with `replace` put it in the place of the one of its name, also while workers run.

    Raises:
        Refused: an unknown function or argument, a name that is taken or malformed.

    """
    now = runtime.now()
    if not new.name or len(new.name) > 100 or any(c.isspace() or not c.isprintable() for c in new.name):
        raise Refused(f"name: {new.name!r} is not 1 to 100 characters without spaces; for example nightly-cleanup")
    job_of(registry, new.function, new.arguments, shop_id=shop_id, request_id="check", now=now)
    plan = _plan(new, now)
    async with runtime.store.transaction(shop_id) as connection:
        changed = await schedules.change(connection, shop_id, plan, now=now) if replace else None
        if changed is None and await schedules.add(connection, shop_id, plan, now=now) is None:
            raise Refused(f"name: {new.name!r} is taken; change it with: smsblossom schedule add {new.name} --replace")
        action = "schedule.added" if changed is None else "schedule.changed"
        await _audit(connection, shop_id, actor, action, new.name, now, details={"function": new.function})
        return await _the(connection, shop_id, new.name)


async def listing(runtime: Runtime, shop_id: ShopId | None = None) -> list[Schedule]:
    """Of one shop (SYSTEM: the system's own), or of all; those that fire next first."""
    async with runtime.store.sweeper() as connection:
        return await schedules.listing(connection, shop_id)


async def remove(runtime: Runtime, name: str, *, shop_id: ShopId = SYSTEM, actor: str) -> None:
    """Ticks that have fired still run.

    Raises:
        Refused: no such schedule, or one of the system's own, which comes back at the next start.

    """
    now = runtime.now()
    if shop_id == SYSTEM and name in {own.name for own in upkeep(now)}:
        raise Refused(f"name: {name!r} is the system's own upkeep; stop it with: smsblossom schedule pause {name}")
    async with runtime.store.transaction(shop_id) as connection:
        if not await schedules.remove(connection, shop_id, name):
            raise _none(name)
        await _audit(connection, shop_id, actor, "schedule.removed", name, now)


async def pause(runtime: Runtime, name: str, *, shop_id: ShopId = SYSTEM, actor: str) -> Schedule:
    """Fire no tick until resumed.

    Raises:
        Refused: no such schedule, or paused already.

    """
    return await _set_paused(runtime, name, shop_id=shop_id, actor=actor, paused=True)


async def resume(runtime: Runtime, name: str, *, shop_id: ShopId = SYSTEM, actor: str) -> Schedule:
    """Go on with the next tick from now: a pause is meant, so what lay in it is not caught up with.

    Raises:
        Refused: no such schedule, or not paused.

    """
    return await _set_paused(runtime, name, shop_id=shop_id, actor=actor, paused=False)


async def run_now(
    runtime: Runtime, registry: Registry, name: str, *, shop_id: ShopId = SYSTEM, actor: str
) -> tuple[str, bool]:
    """Fire once now, beside the schedule's own ticks, paused or not. The job's id, and whether it is on its queue yet.

    Raises:
        Refused: no such schedule.

    """
    now = runtime.now()
    async with runtime.store.transaction(shop_id) as connection:
        schedule = await _the(connection, shop_id, name, lock=True)
        await schedules.fire(connection, schedule, [now], now=now)
        await _audit(connection, shop_id, actor, "schedule.run", name, now)
    job_id = job_id_of(schedule.id, now)
    try:
        await add_jobs(runtime, registry)
    except QueueUnavailable:
        return job_id, False
    return job_id, True


async def fire_due(runtime: Runtime) -> int:
    """Write down every tick that is due, and move each schedule on; how many ticks are new."""
    total = 0
    while True:
        now = runtime.now()
        async with runtime.store.sweeper() as connection:
            due = await schedules.lock_due(connection, now=now, limit=_AT_ONCE)
            for schedule in due:
                total += await _fire(connection, schedule, now=now)
        if len(due) < _AT_ONCE:
            return total


async def add_jobs(runtime: Runtime, registry: Registry) -> int:
    """Put onto their queues the jobs of ticks that have fired, and look after those that were put there before.

    The ticks stay locked meanwhile, so that no other scheduler adds a job that has just ended once more.

    Raises:
        QueueUnavailable: the ticks wait.

    """
    async with runtime.store.sweeper() as connection:
        ticks = await schedules.lock_open_ticks(connection, again_after=LOOK_AGAIN_IN, limit=_AT_ONCE)
        adds: list[Add] = []
        seen: list[Tick] = []
        for one in ticks:
            add = await _job_for(runtime, connection, registry, one)
            if add is None:
                continue
            info = await runtime.queue.get_job(add.job.queue, add.job_id or "")
            ended = _end_of(info)
            if ended is not None:
                await schedules.end_tick(connection, one.key, ended, now=runtime.now())
                continue
            if info is not None and info.state is JobState.DEAD:
                continue  # its letter ends the tick, or is being run again and puts the job back
            seen.append(one)
            if info is None:
                adds.append(add)
                if one.state is TickState.ADDED:
                    log.warning("schedule.job_forgotten", schedule=one.name, job_id=add.job_id)
        if adds:
            await runtime.queue.add_many(adds)
        await schedules.mark_added(connection, seen)
    return len(adds)


def job_id_of(schedule_id: UUID, tick_at: datetime) -> str:
    """The same for the same tick, whoever fires it. `bury.subject_of` reads it back."""
    return f"schedule:{schedule_id}:{tick_at.astimezone(UTC).isoformat()}"


def job_of(
    registry: Registry, function: str, arguments: Mapping[str, Any], *, shop_id: ShopId, request_id: str, now: datetime
) -> Job:
    """The typed job of this function with these JSON arguments.

    Raises:
        Refused: no such function, or arguments that its type does not take; each by name.

    """
    entry = registry.get(function)
    if entry is None:
        known = ", ".join(sorted(each.function for each in registry))
        raise Refused(f"function: no {function!r}; known: {known}")
    fields = [field.name for field in msgspec.structs.fields(entry.payload) if field.name not in _OURS]
    for name in arguments:
        if name in _OURS:
            raise Refused(f"arguments: {name} is set by the schedule, not given")
        if name not in fields:
            raise Refused(f"arguments: {function} takes no {name!r}; it takes: {', '.join(fields)}")
    envelope = {"shop_id": shop_id, "request_id": request_id, "created_at": now}
    try:
        job = msgspec.convert({**msgspec.to_builtins(envelope), **arguments}, entry.payload)
    except msgspec.ValidationError as error:
        raise Refused(f"arguments: {error}; {function} takes: {', '.join(fields)}") from error
    if job.function != function:
        raise Refused(f"arguments: they describe {job.function}, not {function}")
    return job


def _end_of(info: JobInfo | None) -> TickState | None:
    """How a tick ends whose job stands so; None while it is under way. Dead ones are ended with their letter."""
    if info is None or info.finished_at is None:
        return None
    match info.state:
        case JobState.COMPLETED:
            return TickState.DONE
        case JobState.FAILED:
            return TickState.STOPPED
        case JobState.WAITING | JobState.ACTIVE | JobState.DELAYED | JobState.DEAD:
            return None


async def _fire(connection: Connection, schedule: Schedule, *, now: datetime) -> int:
    assert schedule.next_at is not None  # lock_due asked for it
    try:
        timing = msgspec.convert(schedule.timing, Timing)
        due = domain.due_ticks(timing, schedule.next_at, now, policy=schedule.catch_up)
    except (msgspec.ValidationError, ScheduleError, ArithmeticError):
        # Its zone left the tz database, or another release wrote it: it must not hold up the others.
        log.exception("schedule.broken", schedule=schedule.name, shop_id=str(schedule.shop_id))
        await schedules.set_paused(connection, schedule, paused=True, next_at=None, now=now)
        await _audit(connection, schedule.shop_id, "system", "schedule.broken", schedule.name, now)
        return 0
    fired = await schedules.fire(connection, schedule, due.fire, now=now)
    last_at = due.fire[-1] if due.fire else None
    await schedules.advance(connection, schedule, next_at=due.next_at, last_at=last_at)
    if due.is_behind:
        log.warning(
            "schedule.ticks_left_out",
            schedule=schedule.name,
            shop_id=str(schedule.shop_id),
            since=schedule.next_at.isoformat(),
            catch_up=schedule.catch_up,
            fired=len(due.fire),
        )
    return fired


async def _job_for(runtime: Runtime, connection: Connection, registry: Registry, tick: Tick) -> Add | None:
    """The job of a tick. None where this release cannot make one; after a while nobody will."""
    now = runtime.now()
    job_id = job_id_of(tick.schedule_id, tick.tick_at)
    try:
        job = job_of(registry, tick.function, tick.arguments, shop_id=tick.shop_id, request_id=job_id, now=now)
    except Refused:
        if now - tick.fired_at > UNKNOWN_IN:
            log.exception("schedule.job_refused", schedule=tick.name, job_id=job_id)
            await schedules.end_tick(connection, tick.key, TickState.DEAD, now=now)
            details = {"tick_at": tick.tick_at.isoformat(), "function": tick.function}
            await _audit(connection, tick.shop_id, "system", "schedule.tick_refused", tick.name, now, details=details)
        return None
    return Add(job=job, job_id=job_id)


async def _set_paused(runtime: Runtime, name: str, *, shop_id: ShopId, actor: str, paused: bool) -> Schedule:
    now = runtime.now()
    async with runtime.store.transaction(shop_id) as connection:
        schedule = await _the(connection, shop_id, name, lock=True)
        if schedule.paused == paused:
            raise Refused(f"schedule: {name} is {'paused already' if paused else 'not paused'}")
        next_at = schedule.next_at if paused else domain.first_at(msgspec.convert(schedule.timing, Timing), now)
        await schedules.set_paused(connection, schedule, paused=paused, next_at=next_at, now=now)
        await _audit(connection, shop_id, actor, "schedule.paused" if paused else "schedule.resumed", name, now)
        return await _the(connection, shop_id, name)


async def _the(connection: Connection, shop_id: ShopId, name: str, *, lock: bool = False) -> Schedule:
    found = await schedules.get(connection, shop_id, name, lock=lock)
    if found is None:
        raise _none(name)
    return found


async def _audit(
    connection: Connection,
    shop_id: ShopId,
    actor: str,
    action: str,
    name: str,
    now: datetime,
    *,
    details: dict[str, Any] | None = None,
) -> None:
    await audit.add(connection, shop_id, actor=actor, action=action, entity=name, details=details, now=now)


def _plan(new: NewSchedule, now: datetime) -> Plan:
    return Plan(
        name=new.name,
        function=new.function,
        arguments=new.arguments,
        timing=msgspec.to_builtins(new.timing),
        catch_up=new.catch_up,
        next_at=domain.first_at(new.timing, now),
    )


def _none(name: str) -> Refused:
    return Refused(f"schedule: none with the name {name!r}; list them with: smsblossom schedule list")

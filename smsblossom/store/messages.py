"""The message ledger: plan, claim, record, settle. Each change names the states it may leave."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, and_, bindparam, case, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.ids import SYSTEM, ContactId, MessageId, ShopId
from smsblossom.domain.messages import MessageClass, MessageState
from smsblossom.store.ids import new_id
from smsblossom.store.tables import consent_events, controls, message_events, messages, routes, shops, workers

_S = MessageState


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger row to be."""

    source: str
    source_id: UUID
    subject: str
    step: int
    phone_index: bytes
    resend_no: int
    contact_id: ContactId | None
    run_id: UUID | None
    message_class: MessageClass
    state: MessageState
    phone_sealed: bytes
    body_sealed: bytes
    sender: str
    encoding: str
    parts: int
    due_at: datetime
    expires_at: datetime | None
    provider: str
    received_at: datetime
    planned_at: datetime
    decided_at: datetime
    queued_at: datetime | None
    updated_at: datetime
    request_id: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger row, as delivery and the operator see it."""

    shop_id: ShopId
    id: MessageId
    source: str
    source_id: UUID
    subject: str
    step: int
    phone_index: bytes
    resend_no: int
    contact_id: ContactId | None
    run_id: UUID | None
    message_class: MessageClass
    state: MessageState
    phone_sealed: bytes
    body_sealed: bytes
    sender: str
    encoding: str
    parts: int
    due_at: datetime
    expires_at: datetime | None
    provider: str
    provider_id: str | None
    claim_owner: UUID | None
    claimed_at: datetime | None
    attempts: int
    error_class: str | None
    error_code: str | None
    received_at: datetime
    planned_at: datetime
    decided_at: datetime
    accepted_at: datetime | None
    finished_at: datetime | None
    request_id: str


class Candidate(msgspec.Struct, frozen=True):
    """A row about to be submitted, and what may be newer than its decision."""

    message: Message
    shop_status: str
    switches: frozenset[str]
    consent_heard_at: datetime | None


class Due(msgspec.Struct, frozen=True):
    """A ledger row that should have a job."""

    shop_id: ShopId
    id: MessageId
    contact_id: ContactId | None
    provider: str
    request_id: str
    message_class: MessageClass


_COLUMNS = [messages.c[name] for name in Message.__struct_fields__]
# Built once: building a statement costs as much as running it.
_PLAN = insert(messages).on_conflict_do_nothing().returning(messages.c.id)
_ROUTE = insert(routes).on_conflict_do_nothing()
_EVENT = insert(message_events)


async def plan(connection: AsyncConnection, shop_id: ShopId, draft: Draft) -> MessageId | None:
    """Put a text into the ledger; None when its business key is there already."""
    message_id = MessageId(new_id())
    values = {"shop_id": shop_id, "id": message_id, **msgspec.structs.asdict(draft)}
    done = await connection.execute(_PLAN, values)
    return None if done.one_or_none() is None else message_id


async def lock(connection: AsyncConnection, shop_id: ShopId, message_id: MessageId) -> Message | None:
    """The row, held until the transaction ends."""
    c = messages.c
    query = select(*_COLUMNS).where(c.shop_id == shop_id, c.id == message_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), Message)


def _candidate() -> Select[Any]:
    c, k, e = messages.c, controls.c, consent_events.c
    status = select(shops.c.status).where(shops.c.id == c.shop_id)
    switched_on = select(k.name).where(k.shop_id == SYSTEM, k.value == "on")
    heard_at = select(func.max(e.recorded_at)).where(e.shop_id == c.shop_id, e.phone_index == c.phone_index)
    columns = (
        *_COLUMNS,
        status.scalar_subquery().label("shop_status"),
        func.array(switched_on.scalar_subquery()).label("switches"),
        heard_at.scalar_subquery().label("consent_heard_at"),
    )
    row = select(*columns).where(c.shop_id == bindparam("shop"), c.id == bindparam("message"))
    return row.with_for_update(of=messages)


_CANDIDATE = _candidate()


async def lock_for_delivery(connection: AsyncConnection, shop_id: ShopId, message_id: MessageId) -> Candidate | None:
    """The row, held until the transaction ends, with what may have changed since its decision."""
    row = (await connection.execute(_CANDIDATE, {"shop": shop_id, "message": message_id})).one_or_none()
    if row is None:
        return None
    facts = row._asdict()
    shop_status, switches, heard = (facts.pop(name) for name in ("shop_status", "switches", "consent_heard_at"))
    return Candidate(msgspec.convert(facts, Message), shop_status, frozenset(switches), heard)


async def claim(
    connection: AsyncConnection,
    shop_id: ShopId,
    message_id: MessageId,
    *,
    owner: UUID,
    decided_at: datetime,
    now: datetime,
) -> datetime | None:
    """Take a row for submission: queued becomes submitting, and its reference can be found by a report.

    The claim's time, None when the row is not to be had. It is the database's own, a lease that business time must
    not move, and no two claims of a row share it: only who knows it may give the row back.
    """
    c = messages.c
    done = await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.state.in_([_S.QUEUED, _S.HELD, _S.PLANNED]))
        .values(
            state=_S.SUBMITTING,
            claim_owner=owner,
            claimed_at=func.clock_timestamp(),
            attempts=c.attempts + 1,
            decided_at=decided_at,
            updated_at=now,
        )
        .returning(c.claimed_at)
    )
    claimed_at: datetime | None = done.scalar_one_or_none()
    if claimed_at is not None:
        route = {"kind": "reference", "key": str(message_id), "shop_id": shop_id}
        await connection.execute(_ROUTE, route)
    return claimed_at


async def record_accepted(
    connection: AsyncConnection, shop_id: ShopId, message_id: MessageId, *, owner: UUID, provider_id: str, now: datetime
) -> bool:
    """The provider took it. A report may have been faster: a later state stays as it is."""
    c = messages.c
    open_claim = c.state.in_([_S.SUBMITTING, _S.UNKNOWN])
    done = await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.claim_owner == owner)
        .values(
            provider_id=provider_id,
            accepted_at=func.coalesce(c.accepted_at, now),
            state=case((open_claim, _S.ACCEPTED.value), else_=c.state),
            updated_at=now,
        )
    )
    return done.rowcount == 1


async def record_ended(
    connection: AsyncConnection,
    shop_id: ShopId,
    message_id: MessageId,
    *,
    owner: UUID,
    state: MessageState,
    error_class: str,
    error_code: str,
    now: datetime,
) -> bool:
    """The call ended without an acceptance: refused, failed or unknown. Only the claim's own holder may say so."""
    c = messages.c
    leaves = [_S.SUBMITTING] if state is _S.UNKNOWN else [_S.SUBMITTING, _S.UNKNOWN]
    done = await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.claim_owner == owner, c.state.in_(leaves))
        .values(
            state=state,
            error_class=error_class,
            error_code=error_code,
            finished_at=None if state is _S.UNKNOWN else now,
            updated_at=now,
        )
    )
    return done.rowcount == 1


async def release(
    connection: AsyncConnection,
    shop_id: ShopId,
    message_id: MessageId,
    *,
    owner: UUID,
    claimed_at: datetime,
    error_class: str,
    error_code: str,
    due_at: datetime,
    now: datetime,
) -> bool:
    """Back to queued after a proven non-submission: by the claim's own holder, and of this very claim only."""
    c = messages.c
    done = await connection.execute(
        update(messages)
        .where(
            c.shop_id == shop_id,
            c.id == message_id,
            c.claim_owner == owner,
            c.claimed_at == claimed_at,
            c.state.in_([_S.SUBMITTING, _S.UNKNOWN]),
        )
        .values(
            state=_S.QUEUED,
            claim_owner=None,
            claimed_at=None,
            due_at=due_at,
            error_class=error_class,
            error_code=error_code,
            updated_at=now,
        )
    )
    return done.rowcount == 1


async def hold(
    connection: AsyncConnection, shop_id: ShopId, message_id: MessageId, *, until: datetime, now: datetime
) -> None:
    await _move(connection, shop_id, message_id, state=_S.HELD, due_at=until, decided_at=now, updated_at=now)


async def withhold(
    connection: AsyncConnection, shop_id: ShopId, message_id: MessageId, *, reason: str, now: datetime
) -> None:
    await _move(connection, shop_id, message_id, state=_S.WITHHELD, error_code=reason, finished_at=now, updated_at=now)


async def _move(connection: AsyncConnection, shop_id: ShopId, message_id: MessageId, **values: Any) -> None:
    c = messages.c
    await connection.execute(
        update(messages)
        .where(c.shop_id == shop_id, c.id == message_id, c.state.in_([_S.PLANNED, _S.QUEUED, _S.HELD]))
        .values(**values)
    )


async def apply_receipt(
    connection: AsyncConnection, message: Message, state: MessageState, *, provider_id: str | None, now: datetime
) -> None:
    """Move a locked row forward, as `receipts.advance` judged."""
    c = messages.c
    ends = state in {_S.DELIVERED, _S.UNDELIVERED, _S.FAILED, _S.EXPIRED}
    await connection.execute(
        update(messages)
        .where(c.shop_id == message.shop_id, c.id == message.id)
        .values(
            state=state,
            provider_id=func.coalesce(c.provider_id, provider_id),
            accepted_at=func.coalesce(c.accepted_at, now),
            finished_at=now if ends else c.finished_at,
            updated_at=now,
        )
    )


async def add_event(
    connection: AsyncConnection,
    shop_id: ShopId,
    message_id: MessageId,
    *,
    kind: str,
    state: MessageState,
    code: str | None,
    happened_at: datetime,
    now: datetime,
    request_id: str | None,
    raw_sealed: bytes | None = None,
) -> None:
    """Append to the message's history."""
    await connection.execute(
        _EVENT,
        {
            "shop_id": shop_id,
            "id": new_id(),
            "message_id": message_id,
            "kind": kind,
            "state": state,
            "code": code,
            "happened_at": happened_at,
            "recorded_at": now,
            "request_id": request_id,
            "raw_sealed": raw_sealed,
        },
    )


async def due(sweeper: AsyncConnection, *, now: datetime, grace: timedelta, limit: int) -> list[Due]:
    """Rows whose hour has come: held until now, or queued long enough for their job to be lost."""
    c = messages.c
    rows = await sweeper.execute(
        select(c.shop_id, c.id, c.contact_id, c.provider, c.request_id, c.message_class)
        .where(
            or_(
                and_(c.state == _S.HELD, c.due_at <= now),
                and_(c.state.in_([_S.QUEUED, _S.PLANNED]), c.due_at < now - grace),
            )
        )
        .order_by(c.due_at)
        .limit(limit)
    )
    return [msgspec.convert(row._asdict(), Due) for row in rows]


async def orphaned_to_unknown(
    sweeper: AsyncConnection, *, dead_after: timedelta, longest_call: timedelta, now: datetime
) -> list[tuple[ShopId, MessageId]]:
    """Rows in `submitting` whose holder is dead, or whose call is over by any measure, become `unknown`.

    A young claim is no dead one, whatever its holder's heartbeat says: a process that stood still and woke up claims
    before it beats. A row that somebody holds at this moment is left for the next round: a process that stands still
    in the middle of a transaction must not make the sweep stand still too.
    """
    c, w = messages.c, workers.c
    alive = exists().where(
        w.id == c.claim_owner, w.stopped_at.is_(None), w.heartbeat_at > func.clock_timestamp() - dead_after
    )
    orphans = (
        select(c.shop_id, c.id)
        .where(
            c.state == _S.SUBMITTING,
            or_(
                and_(~alive, c.claimed_at < func.clock_timestamp() - dead_after),
                c.claimed_at < func.clock_timestamp() - longest_call,
            ),
        )
        .with_for_update(skip_locked=True)
        .cte("orphans")
    )
    rows = await sweeper.execute(
        update(messages)
        .where(c.shop_id == orphans.c.shop_id, c.id == orphans.c.id)
        .values(state=_S.UNKNOWN, error_class="ambiguous", error_code="claim_died", updated_at=now)
        .returning(c.shop_id, c.id)
    )
    return [(ShopId(row.shop_id), MessageId(row.id)) for row in rows]


async def listing(
    connection: AsyncConnection,
    shop_id: ShopId,
    *,
    limit: int,
    state: MessageState | None = None,
    phone_index: bytes | None = None,
) -> list[Message]:
    """Newest first."""
    c = messages.c
    query = select(*_COLUMNS).where(c.shop_id == shop_id)
    if state is not None:
        query = query.where(c.state == state)
    if phone_index is not None:
        query = query.where(c.phone_index == phone_index)
    rows = await connection.execute(query.order_by(c.planned_at.desc(), c.id.desc()).limit(limit))
    return [msgspec.convert(row._asdict(), Message) for row in rows]


async def count_by_state(sweeper: AsyncConnection) -> dict[str, int]:
    rows = await sweeper.execute(select(messages.c.state, func.count().label("rows")).group_by(messages.c.state))
    return {str(row.state): int(row.rows) for row in rows}


async def shop_of_reference(connection: AsyncConnection, references: Sequence[str]) -> dict[str, ShopId]:
    """Which shop each of these provider references belongs to; unknown ones are left out."""
    r = routes.c
    rows = await connection.execute(select(r.key, r.shop_id).where(r.kind == "reference", r.key.in_(references)))
    return {row.key: ShopId(row.shop_id) for row in rows}

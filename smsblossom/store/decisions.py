"""What a decision looks at, in one query, and what is kept of it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from smsblossom.domain.consent import ConsentKind, ConsentRecord, ConsentState
from smsblossom.domain.ids import SYSTEM, ContactId, DecisionId, MessageId, ShopId
from smsblossom.domain.messages import COUNTS_AS_SENT, BusinessKey
from smsblossom.store.ids import new_id
from smsblossom.store.tables import decisions


class TrailEntry(msgspec.Struct, frozen=True):
    kind: ConsentKind
    state: ConsentState
    consented_at: datetime

    @property
    def record(self) -> ConsentRecord:
        return ConsentRecord(self.state, self.consented_at)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """The database's part of the facts, read in the transaction that holds the recipient's lock."""

    status: str
    timezone: str
    country: str
    name: str | None
    domain: str
    sender: str | None
    locale: str | None
    currency: str | None
    settings: dict[str, Any]
    transactional_sms_disabled: bool | None
    stop_all: bool
    suppressed: bool
    key_in_ledger: bool
    sent_last_day: int
    sent_newest_at: datetime | None
    trail: list[TrailEntry] | None


_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:recipient, 0))")

_SITUATION = text(
    """
    SELECT s.status, s.timezone, s.country, s.name, s.domain, s.sender, s.locale, s.currency, s.settings,
           s.transactional_sms_disabled,
           EXISTS (SELECT FROM controls WHERE shop_id = :system AND name = 'stop_all' AND value = 'on') AS stop_all,
           EXISTS (SELECT FROM suppressions
                   WHERE shop_id = s.id AND phone_index = :phone_index AND lifted_at IS NULL) AS suppressed,
           EXISTS (SELECT FROM messages
                   WHERE shop_id = s.id AND source = :source AND source_id = :source_id AND subject = :subject
                     AND step = :step AND phone_index = :phone_index AND resend_no = :resend_no
                     AND id IS DISTINCT FROM CAST(:own AS uuid)) AS key_in_ledger,
           sent.last_day AS sent_last_day, sent.newest_at AS sent_newest_at,
           (SELECT jsonb_agg(jsonb_build_object('kind', t.kind, 'state', t.state, 'consented_at', t.consented_at))
            FROM (SELECT kind, state, consented_at FROM consent_events
                  WHERE shop_id = s.id AND phone_index = :phone_index
                  UNION ALL
                  SELECT kind, state, consented_at FROM consent_events
                  WHERE shop_id = s.id AND contact_id = :contact_id AND phone_index IS NULL
                  ORDER BY consented_at DESC LIMIT 100) t) AS trail
    FROM shops s,
         LATERAL (SELECT count(*) FILTER (WHERE decided_at > :day_ago) AS last_day, max(decided_at) AS newest_at
                  FROM messages
                  WHERE shop_id = s.id AND phone_index = :phone_index AND message_class = 'promotional'
                    AND state = ANY (:counting) AND id IS DISTINCT FROM CAST(:own AS uuid)) sent
    WHERE s.id = :shop_id
    """
)


async def lock_recipient(connection: AsyncConnection, shop_id: ShopId, phone_index: bytes | None) -> None:
    """Until this transaction ends, nobody else decides about this phone for this shop: two flows cannot both pass."""
    recipient = f"{shop_id}:{phone_index.hex() if phone_index else ''}"
    await connection.execute(_LOCK, {"recipient": recipient})


async def situation(
    connection: AsyncConnection,
    key: BusinessKey,
    *,
    contact_id: ContactId | None,
    own: MessageId | None,
    now: datetime,
) -> Situation | None:
    """What is so now for this text and this recipient; None for a shop that we do not know.

    `own` is the ledger row that is judged again, which is no duplicate of itself.
    """
    row = (
        await connection.execute(
            _SITUATION,
            {
                "system": SYSTEM,
                "shop_id": key.shop_id,
                "source": key.source,
                "source_id": UUID(key.source_id),
                "subject": key.subject,
                "step": key.step,
                "phone_index": key.phone_index,
                "resend_no": key.resend_no,
                "contact_id": contact_id,
                "own": own,
                "counting": sorted(COUNTS_AS_SENT),
                "day_ago": now - timedelta(days=1),
            },
        )
    ).one_or_none()
    return None if row is None else msgspec.convert(row._asdict(), Situation)


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    verdict: str
    reason: str | None
    gate: str | None
    rules_version: str
    hold_until: datetime | None
    source: str
    source_id: UUID
    subject: str
    step: int
    contact_id: ContactId | None
    message_id: MessageId | None
    phone_index: bytes | None
    zone: str | None
    zone_basis: str | None
    local_time: str | None
    warnings: list[str]
    facts_sealed: bytes
    decided_at: datetime
    request_id: str
    webhook_event_id: UUID | None


_ADD = insert(decisions)


async def add(connection: AsyncConnection, shop_id: ShopId, row: DecisionRow) -> DecisionId:
    decision_id = DecisionId(new_id())
    await connection.execute(_ADD, {"shop_id": shop_id, "id": decision_id, **msgspec.structs.asdict(row)})
    return decision_id


async def listing(
    connection: AsyncConnection,
    shop_id: ShopId,
    *,
    limit: int,
    phone_index: bytes | None = None,
    verdict: str | None = None,
) -> list[DecisionRow]:
    """Newest first."""
    c = decisions.c
    query = select(*(c[name] for name in DecisionRow.__struct_fields__)).where(c.shop_id == shop_id)
    if phone_index is not None:
        query = query.where(c.phone_index == phone_index)
    if verdict is not None:
        query = query.where(c.verdict == verdict)
    rows = await connection.execute(query.order_by(c.decided_at.desc(), c.id.desc()).limit(limit))
    return [msgspec.convert(row._asdict(), DecisionRow) for row in rows]

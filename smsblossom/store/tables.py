"""The tables. Every tenant table has `shop_id` first in its key; uniqueness is per shop, never global.

Names ending in `_sealed` hold ciphertext of `smsblossom.vault`, names ending in `_index` a keyed blind index.
Row-level security is declared here beside the tables and created by the migrations.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Named,
    Numeric,
    SmallInteger,
    Table,
    Text,
    TypedColumns,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_When = DateTime(timezone=True)
_FALSE: Final = text("false")
_ZERO: Final = text("0")


class _Shops(TypedColumns):
    id: Named[UUID] = Column(Uuid, primary_key=True)
    domain: Named[str] = Column(Text)
    status: Named[str] = Column(Text)
    timezone: Named[str] = Column(Text)
    country: Named[str] = Column(Text)
    currency: Named[str | None] = Column(Text)
    locale: Named[str | None] = Column(Text)
    name: Named[str | None] = Column(Text)
    sender: Named[str | None] = Column(Text)
    settings: Named[dict[str, Any]] = Column(JSONB, server_default=text("'{}'"))
    transactional_sms_disabled: Named[bool | None] = Column(Boolean)
    connected_at: Named[datetime] = Column(_When)
    uninstalled_at: Named[datetime | None] = Column(_When)
    updated_at: Named[datetime] = Column(_When)


shops = Table(
    "shops",
    metadata,
    _Shops,
    Index("uq_shops_domain", "domain", unique=True),
    CheckConstraint("status IN ('active', 'paused', 'uninstalled')", name="status"),
)


class _Routes(TypedColumns):
    kind: Named[str] = Column(Text, primary_key=True)
    key: Named[str] = Column(Text, primary_key=True)
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)


routes = Table("routes", metadata, _Routes)
"""From what a provider or a shopper shows us to the shop it belongs to. Holds nothing personal, hence no RLS."""


class _Workers(TypedColumns):
    id: Named[UUID] = Column(Uuid, primary_key=True)
    kind: Named[str] = Column(Text)
    host: Named[str] = Column(Text)
    pid: Named[int] = Column(Integer)
    queues: Named[list[str]] = Column(ARRAY(Text))
    started_at: Named[datetime] = Column(_When)
    heartbeat_at: Named[datetime] = Column(_When)
    stopped_at: Named[datetime | None] = Column(_When)


workers = Table("workers", metadata, _Workers, Index(None, "heartbeat_at"))
"""Heartbeats of processes, by the database's own clock: leases do not move with business time. No RLS."""


class _WebhookEvents(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    topic: Named[str] = Column(Text)
    webhook_id: Named[str] = Column(Text)
    shopify_event_id: Named[str | None] = Column(Text)
    shop_domain: Named[str] = Column(Text)
    api_version: Named[str | None] = Column(Text)
    triggered_at: Named[datetime | None] = Column(_When)
    received_at: Named[datetime] = Column(_When)
    request_id: Named[str] = Column(Text)
    body_sealed: Named[bytes | None] = Column(LargeBinary)
    body_bytes: Named[int] = Column(Integer)
    state: Named[str] = Column(Text, server_default=text("'received'"))
    reason: Named[str | None] = Column(Text)
    object_id: Named[str | None] = Column(Text)
    processed_at: Named[datetime | None] = Column(_When)


webhook_events = Table(
    "webhook_events",
    metadata,
    _WebhookEvents,
    Index("uq_webhook_events_delivery", "shop_id", "topic", "webhook_id", unique=True),
    Index("ix_webhook_events_received", "received_at", postgresql_where=text("state = 'received'")),
    Index("ix_webhook_events_by_time", "shop_id", "received_at"),
    CheckConstraint("state IN ('received', 'processed', 'ignored', 'rejected', 'dead', 'owed')", name="state"),
)
"""The inbox. No foreign key to `shops`: what an unknown shop sends is durable too."""


class _Contacts(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    customer_id: Named[int | None] = Column(BigInteger)
    phone_sealed: Named[bytes | None] = Column(LargeBinary)
    phone_index: Named[bytes | None] = Column(LargeBinary)
    email_sealed: Named[bytes | None] = Column(LargeBinary)
    email_index: Named[bytes | None] = Column(LargeBinary)
    name_sealed: Named[bytes | None] = Column(LargeBinary)
    locale: Named[str | None] = Column(Text)
    country: Named[str | None] = Column(Text)
    province: Named[str | None] = Column(Text)
    timezone: Named[str | None] = Column(Text)
    source: Named[str] = Column(Text)
    shopify_updated_at: Named[datetime | None] = Column(_When)
    created_at: Named[datetime] = Column(_When)
    updated_at: Named[datetime] = Column(_When)


contacts = Table(
    "contacts",
    metadata,
    _Contacts,
    Index("uq_contacts_customer", "shop_id", "customer_id", unique=True),
    Index(
        "uq_contacts_guest_phone",
        "shop_id",
        "phone_index",
        unique=True,
        postgresql_where=text("customer_id IS NULL AND phone_index IS NOT NULL"),
    ),
    Index(
        "uq_contacts_guest_email",
        "shop_id",
        "email_index",
        unique=True,
        postgresql_where=text("customer_id IS NULL AND phone_index IS NULL"),
    ),
    Index("ix_contacts_phone", "shop_id", "phone_index"),
)


class _ConsentEvents(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    contact_id: Named[UUID | None] = Column(Uuid)
    phone_index: Named[bytes | None] = Column(LargeBinary)
    kind: Named[str] = Column(Text)
    state: Named[str] = Column(Text)
    level: Named[str | None] = Column(Text)
    source: Named[str] = Column(Text)
    consented_at: Named[datetime] = Column(_When)
    recorded_at: Named[datetime] = Column(_When)
    webhook_event_id: Named[UUID | None] = Column(Uuid)
    actor: Named[str | None] = Column(Text)


consent_events = Table(
    "consent_events",
    metadata,
    _ConsentEvents,
    Index("ix_consent_events_phone", "shop_id", "phone_index", "kind", "consented_at"),
    Index("ix_consent_events_contact", "shop_id", "contact_id", "kind", "consented_at"),
    Index(
        "uq_consent_events_webhook",
        "shop_id",
        "webhook_event_id",
        "kind",
        unique=True,
        postgresql_where=text("webhook_event_id IS NOT NULL"),
    ),
    CheckConstraint("kind IN ('marketing', 'transactional')", name="kind"),
)
"""Append-only: the app role may insert and read, never change."""


class _Suppressions(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    phone_index: Named[bytes] = Column(LargeBinary, primary_key=True)
    reason: Named[str] = Column(Text)
    suppressed_at: Named[datetime] = Column(_When)
    lifted_at: Named[datetime | None] = Column(_When)


suppressions = Table("suppressions", metadata, _Suppressions)
"""Opt-outs by blind index. They never expire and survive redaction."""


class _Orders(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    contact_id: Named[UUID | None] = Column(Uuid)
    name: Named[str | None] = Column(Text)
    checkout_token: Named[str | None] = Column(Text)
    source_name: Named[str | None] = Column(Text)
    is_test: Named[bool] = Column(Boolean, server_default=_FALSE)
    currency: Named[str | None] = Column(Text)
    total: Named[Decimal | None] = Column(Numeric)
    phone_sealed: Named[bytes | None] = Column(LargeBinary)
    phone_index: Named[bytes | None] = Column(LargeBinary)
    country: Named[str | None] = Column(Text)
    province: Named[str | None] = Column(Text)
    financial_status: Named[str | None] = Column(Text)
    fulfillment_status: Named[str | None] = Column(Text)
    processed_at: Named[datetime | None] = Column(_When)
    paid_at: Named[datetime | None] = Column(_When)
    cancelled_at: Named[datetime | None] = Column(_When)
    shopify_updated_at: Named[datetime | None] = Column(_When)
    details_sealed: Named[bytes | None] = Column(LargeBinary)
    created_at: Named[datetime] = Column(_When)
    updated_at: Named[datetime] = Column(_When)


orders = Table("orders", metadata, _Orders, Index("ix_orders_contact", "shop_id", "contact_id"))


class _Automations(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    key: Named[str] = Column(Text)
    trigger: Named[str] = Column(Text)
    enabled: Named[bool] = Column(Boolean)
    version: Named[int] = Column(Integer)
    definition: Named[dict[str, Any]] = Column(JSONB)
    created_at: Named[datetime] = Column(_When)
    updated_at: Named[datetime] = Column(_When)


automations = Table("automations", metadata, _Automations, Index("uq_automations_key", "shop_id", "key", unique=True))


class _Runs(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    automation_id: Named[UUID] = Column(Uuid)
    contact_id: Named[UUID | None] = Column(Uuid)
    trigger: Named[str] = Column(Text)
    subject: Named[str] = Column(Text)
    webhook_event_id: Named[UUID] = Column(Uuid)
    request_id: Named[str] = Column(Text)
    state: Named[str] = Column(Text, server_default=text("'pending'"))
    context_sealed: Named[bytes | None] = Column(LargeBinary)
    received_at: Named[datetime] = Column(_When)
    created_at: Named[datetime] = Column(_When)
    finished_at: Named[datetime | None] = Column(_When)


runs = Table(
    "runs",
    metadata,
    _Runs,
    Index("uq_runs_cause", "shop_id", "webhook_event_id", "automation_id", unique=True),
    Index("ix_runs_pending", "created_at", postgresql_where=text("state = 'pending'")),
    CheckConstraint("state IN ('pending', 'done', 'dead')", name="state"),
)
"""One contact's way through an automation; written with the event, so a lost job loses nothing."""


class _Decisions(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    verdict: Named[str] = Column(Text)
    reason: Named[str | None] = Column(Text)
    gate: Named[str | None] = Column(Text)
    rules_version: Named[str] = Column(Text)
    hold_until: Named[datetime | None] = Column(_When)
    source: Named[str] = Column(Text)
    source_id: Named[UUID] = Column(Uuid)
    subject: Named[str] = Column(Text)
    step: Named[int] = Column(SmallInteger, server_default=_ZERO)
    contact_id: Named[UUID | None] = Column(Uuid)
    message_id: Named[UUID | None] = Column(Uuid)
    phone_index: Named[bytes | None] = Column(LargeBinary)
    zone: Named[str | None] = Column(Text)
    zone_basis: Named[str | None] = Column(Text)
    local_time: Named[str | None] = Column(Text)
    warnings: Named[list[str]] = Column(ARRAY(Text), server_default=text("'{}'"))
    facts_sealed: Named[bytes] = Column(LargeBinary)
    decided_at: Named[datetime] = Column(_When)
    request_id: Named[str] = Column(Text)
    webhook_event_id: Named[UUID | None] = Column(Uuid)


decisions = Table(
    "decisions",
    metadata,
    _Decisions,
    Index("ix_decisions_phone", "shop_id", "phone_index", "decided_at"),
    Index("ix_decisions_time", "shop_id", "decided_at"),
    Index("ix_decisions_message", "shop_id", "message_id"),
    CheckConstraint("verdict IN ('send', 'hold', 'withhold')", name="verdict"),
)


class _Messages(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    source: Named[str] = Column(Text)
    source_id: Named[UUID] = Column(Uuid)
    subject: Named[str] = Column(Text)
    step: Named[int] = Column(SmallInteger, server_default=_ZERO)
    phone_index: Named[bytes] = Column(LargeBinary)
    resend_no: Named[int] = Column(SmallInteger, server_default=_ZERO)
    contact_id: Named[UUID | None] = Column(Uuid)
    run_id: Named[UUID | None] = Column(Uuid)
    message_class: Named[str] = Column(Text)
    state: Named[str] = Column(Text)
    phone_sealed: Named[bytes] = Column(LargeBinary)
    body_sealed: Named[bytes] = Column(LargeBinary)
    sender: Named[str] = Column(Text)
    encoding: Named[str] = Column(Text)
    parts: Named[int] = Column(SmallInteger)
    due_at: Named[datetime] = Column(_When)
    expires_at: Named[datetime | None] = Column(_When)
    provider: Named[str] = Column(Text)
    provider_id: Named[str | None] = Column(Text)
    claim_owner: Named[UUID | None] = Column(Uuid)
    claimed_at: Named[datetime | None] = Column(_When)
    attempts: Named[int] = Column(SmallInteger, server_default=_ZERO)
    error_class: Named[str | None] = Column(Text)
    error_code: Named[str | None] = Column(Text)
    received_at: Named[datetime] = Column(_When)
    planned_at: Named[datetime] = Column(_When)
    decided_at: Named[datetime] = Column(_When)
    queued_at: Named[datetime | None] = Column(_When)
    accepted_at: Named[datetime | None] = Column(_When)
    finished_at: Named[datetime | None] = Column(_When)
    updated_at: Named[datetime] = Column(_When)
    request_id: Named[str] = Column(Text)


messages = Table(
    "messages",
    metadata,
    _Messages,
    Index(
        "uq_messages_business_key",
        "shop_id",
        "source",
        "source_id",
        "subject",
        "step",
        "phone_index",
        "resend_no",
        unique=True,
    ),
    Index("ix_messages_due", "state", "due_at", postgresql_where=text("state IN ('planned', 'queued', 'held')")),
    Index("ix_messages_submitting", "claim_owner", postgresql_where=text("state = 'submitting'")),
    Index("ix_messages_phone", "shop_id", "phone_index", "planned_at"),
    Index("ix_messages_time", "shop_id", "planned_at"),
    CheckConstraint(
        "state IN ('planned', 'queued', 'submitting', 'accepted', 'sent', 'delivered', 'withheld', 'refused', "
        "'failed', 'undelivered', 'expired', 'held', 'unknown')",
        name="state",
    ),
)
"""The ledger: one text to one contact per business key."""


class _MessageEvents(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    message_id: Named[UUID] = Column(Uuid)
    kind: Named[str] = Column(Text)
    state: Named[str] = Column(Text)
    code: Named[str | None] = Column(Text)
    happened_at: Named[datetime] = Column(_When)
    recorded_at: Named[datetime] = Column(_When)
    raw_sealed: Named[bytes | None] = Column(LargeBinary)
    request_id: Named[str | None] = Column(Text)


message_events = Table(
    "message_events", metadata, _MessageEvents, Index("ix_message_events_message", "shop_id", "message_id")
)
"""What happened to a message, append-only: attempts, outcomes, receipts."""


class _InboundMessages(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    provider: Named[str] = Column(Text)
    provider_id: Named[str] = Column(Text)
    phone_sealed: Named[bytes] = Column(LargeBinary)
    phone_index: Named[bytes] = Column(LargeBinary)
    body_sealed: Named[bytes] = Column(LargeBinary)
    keyword: Named[str | None] = Column(Text)
    received_at: Named[datetime] = Column(_When)
    request_id: Named[str] = Column(Text)


inbound_messages = Table(
    "inbound_messages",
    metadata,
    _InboundMessages,
    Index("uq_inbound_messages_provider", "shop_id", "provider", "provider_id", unique=True),
    Index("ix_inbound_messages_phone", "shop_id", "phone_index"),
)


class _DeadLetters(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    queue: Named[str] = Column(Text)
    function: Named[str] = Column(Text)
    job_id: Named[str] = Column(Text)
    data: Named[bytes] = Column(LargeBinary)
    error_type: Named[str] = Column(Text)
    error: Named[str] = Column(Text)
    trace: Named[str | None] = Column(Text)
    attempts: Named[int] = Column(Integer)
    request_id: Named[str | None] = Column(Text)
    first_failed_at: Named[datetime] = Column(_When)
    last_failed_at: Named[datetime] = Column(_When)
    state: Named[str] = Column(Text, server_default=text("'dead'"))
    redriven: Named[int] = Column(SmallInteger, server_default=_ZERO)
    settled_at: Named[datetime | None] = Column(_When)
    job_group: Named[str | None] = Column(Text)


dead_letters = Table(
    "dead_letters",
    metadata,
    _DeadLetters,
    Index("ix_dead_letters_time", "last_failed_at"),
    Index("uq_dead_letters_job", "shop_id", "queue", "job_id", unique=True),
    CheckConstraint("state IN ('dead', 'redriving', 'redriven')", name="state"),
)
"""`redriving`: an operator asked for it, and the job may not be back on its queue yet."""


class _Schedules(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    name: Named[str] = Column(Text)
    function: Named[str] = Column(Text)
    arguments: Named[dict[str, Any]] = Column(JSONB, server_default=text("'{}'"))
    timing: Named[dict[str, Any]] = Column(JSONB)
    catch_up: Named[str] = Column(Text)
    paused: Named[bool] = Column(Boolean, server_default=_FALSE)
    next_at: Named[datetime | None] = Column(_When)
    last_at: Named[datetime | None] = Column(_When)
    created_at: Named[datetime] = Column(_When)
    updated_at: Named[datetime] = Column(_When)


schedules = Table(
    "schedules",
    metadata,
    _Schedules,
    Index("uq_schedules_name", "shop_id", "name", unique=True),
    Index("ix_schedules_due", "next_at", postgresql_where=text("next_at IS NOT NULL AND NOT paused")),
    CheckConstraint("catch_up IN ('skip', 'once', 'all')", name="catch_up"),
)
"""What fires when. Rows of the nil shop are the system's own upkeep."""


class _ScheduleTicks(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    schedule_id: Named[UUID] = Column(Uuid, primary_key=True)
    tick_at: Named[datetime] = Column(_When, primary_key=True)
    name: Named[str] = Column(Text)
    function: Named[str] = Column(Text)
    arguments: Named[dict[str, Any]] = Column(JSONB)
    state: Named[str] = Column(Text, server_default=text("'fired'"))
    fired_at: Named[datetime] = Column(_When)
    looked_at: Named[datetime | None] = Column(_When)
    ended_at: Named[datetime | None] = Column(_When)


schedule_ticks = Table(
    "schedule_ticks",
    metadata,
    _ScheduleTicks,
    Index("ix_schedule_ticks_open", "fired_at", postgresql_where=text("state IN ('fired', 'added')")),
    Index("ix_schedule_ticks_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    CheckConstraint("state IN ('fired', 'added', 'done', 'stopped', 'dead')", name="state"),
)
"""Every tick that fired, each once by its key, until its job has ended: Redis may forget the job, not we.
`looked_at` is by the database's own clock."""


class _Controls(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    name: Named[str] = Column(Text, primary_key=True)
    value: Named[str] = Column(Text)
    set_at: Named[datetime] = Column(_When)
    set_by: Named[str] = Column(Text)


controls = Table("controls", metadata, _Controls)
"""Switches that outlive processes: stop-all, sending held after a restore, the blind index key's check value."""


class _AuditLog(TypedColumns):
    shop_id: Named[UUID] = Column(Uuid, primary_key=True)
    id: Named[UUID] = Column(Uuid, primary_key=True)
    actor: Named[str] = Column(Text)
    action: Named[str] = Column(Text)
    entity: Named[str | None] = Column(Text)
    ip: Named[str | None] = Column(Text)
    request_id: Named[str | None] = Column(Text)
    details: Named[dict[str, Any]] = Column(JSONB, server_default=text("'{}'"))
    at: Named[datetime] = Column(_When)


audit_log = Table(
    "audit_log",
    metadata,
    _AuditLog,
    Index("ix_audit_log_time", "shop_id", "at"),
    Index("ix_audit_log_action", "action", "at"),
    Index("ix_audit_log_at", "at"),
)

WITHOUT_RLS: Final = frozenset({"routes", "workers", "alembic_version"})
APPEND_ONLY: Final = frozenset({"consent_events", "decisions", "message_events", "audit_log"})
"""The app role may insert and read these; only the sweeper may delete (retention, redaction)."""


def tenant_column(table: Table) -> str:
    """The column that names the shop: `id` of shops itself, `shop_id` everywhere else."""
    return "id" if table.name == "shops" else "shop_id"

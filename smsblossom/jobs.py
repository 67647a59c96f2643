"""The job types: one frozen structure per unit on a queue.

A job carries ids, never a payload and never a phone number; its row is read fresh when it runs.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from smsblossom.domain.ids import SYSTEM, ContactId, MessageId, ShopId, WebhookEventId


class QueueName(StrEnum):
    EVENTS = "events"
    AUTOMATIONS = "automations"
    CAMPAIGNS = "campaigns"
    DELIVERY = "delivery"
    HOUSEKEEPING = "housekeeping"


class Priority(StrEnum):
    """A head start on the queue's score once a job is due, so that background work ages and is never starved."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every job carries. `kind` is the function's name on the queue, as a stock arq client would spell it."""

    kind: ClassVar[str]
    queue: ClassVar[QueueName]
    priority: ClassVar[Priority] = Priority.NORMAL

    shop_id: ShopId
    request_id: str
    created_at: datetime

    @property
    def function(self) -> str:
        return self.kind


class ProcessEvent(Job, frozen=True, kw_only=True):
    """Load an inbox row and call the processor of its topic."""

    kind: ClassVar[str] = "events:process"
    queue: ClassVar[QueueName] = QueueName.EVENTS

    event_id: WebhookEventId
    topic: str
    object_id: str | None = None
    dedupe_key: str | None = None


class HandleEvent(ProcessEvent, frozen=True, kw_only=True):
    """The same work addressed by topic, as in `event:orders.create`: for replay and for stock arq clients."""

    @property
    def function(self) -> str:
        return f"event:{self.topic.replace('/', '.')}"


class ApplyReceipts(Job, frozen=True, kw_only=True):
    """Apply stored delivery reports. The shop is unknown until the report is read: its job carries the system's id."""

    kind: ClassVar[str] = "receipts:apply"
    queue: ClassVar[QueueName] = QueueName.EVENTS

    shop_id: ShopId = SYSTEM
    event_ids: tuple[WebhookEventId, ...]


class HandleInbound(Job, frozen=True, kw_only=True):
    """Handle one stored inbound text. Critical: a STOP must win against a text about to leave."""

    kind: ClassVar[str] = "inbound:handle"
    queue: ClassVar[QueueName] = QueueName.EVENTS
    priority: ClassVar[Priority] = Priority.CRITICAL

    shop_id: ShopId = SYSTEM
    event_id: WebhookEventId


class EvaluateAutomations(Job, frozen=True, kw_only=True):
    """Judge every automation of this trigger for one contact, and put what may be sent into the ledger."""

    kind: ClassVar[str] = "automations:evaluate"
    queue: ClassVar[QueueName] = QueueName.AUTOMATIONS

    contact_id: ContactId | None
    """None: the occasion names nobody who could be texted; that too gets its decision."""
    trigger: str
    context: WebhookEventId


class RunCampaignBatch(Job, frozen=True, kw_only=True):
    kind: ClassVar[str] = "campaigns:batch"
    queue: ClassVar[QueueName] = QueueName.CAMPAIGNS
    priority: ClassVar[Priority] = Priority.LOW

    campaign_id: str
    batch_size: int
    cursor: str | None = None


class SendMessage(Job, frozen=True, kw_only=True):
    """Submit one ledger row to its provider."""

    kind: ClassVar[str] = "delivery:send"
    queue: ClassVar[QueueName] = QueueName.DELIVERY
    priority: ClassVar[Priority] = Priority.HIGH

    contact_id: ContactId | None
    message_id: MessageId
    provider: str


class RunHousekeeping(Job, frozen=True, kw_only=True):
    kind: ClassVar[str] = "housekeeping:run"
    queue: ClassVar[QueueName] = QueueName.HOUSEKEEPING
    priority: ClassVar[Priority] = Priority.BACKGROUND

    shop_id: ShopId = SYSTEM
    type: str
    payload_ref: str | None = None

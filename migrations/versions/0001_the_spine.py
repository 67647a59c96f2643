"""The spine

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from row_security import SYSTEM, protect, share
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEALED_BODIES = (("webhook_events", "body_sealed"), ("runs", "context_sealed"), ("decisions", "facts_sealed"))


def upgrade() -> None:
    # A migration that waits for a lock makes every query behind it wait too: give up early, try again later.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "audit_log",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_action", "audit_log", ["action", "at"], unique=False)
    op.create_index("ix_audit_log_time", "audit_log", ["shop_id", "at"], unique=False)
    op.create_table(
        "automations",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_automations")),
    )
    op.create_index("uq_automations_key", "automations", ["shop_id", "key"], unique=True)
    op.create_table(
        "consent_events",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("phone_index", sa.LargeBinary(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("consented_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("webhook_event_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('marketing', 'transactional')", name=op.f("ck_consent_events_kind")),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_consent_events")),
    )
    op.create_index(
        "ix_consent_events_contact", "consent_events", ["shop_id", "contact_id", "kind", "consented_at"], unique=False
    )
    op.create_index(
        "ix_consent_events_phone", "consent_events", ["shop_id", "phone_index", "kind", "consented_at"], unique=False
    )
    op.create_index(
        "uq_consent_events_webhook",
        "consent_events",
        ["shop_id", "webhook_event_id", "kind"],
        unique=True,
        postgresql_where=sa.text("webhook_event_id IS NOT NULL"),
    )
    op.create_table(
        "contacts",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("phone_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("phone_index", sa.LargeBinary(), nullable=True),
        sa.Column("email_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("email_index", sa.LargeBinary(), nullable=True),
        sa.Column("name_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("province", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shopify_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_phone", "contacts", ["shop_id", "phone_index"], unique=False)
    op.create_index("uq_contacts_customer", "contacts", ["shop_id", "customer_id"], unique=True)
    op.create_index(
        "uq_contacts_guest_email",
        "contacts",
        ["shop_id", "email_index"],
        unique=True,
        postgresql_where=sa.text("customer_id IS NULL AND phone_index IS NULL"),
    )
    op.create_index(
        "uq_contacts_guest_phone",
        "contacts",
        ["shop_id", "phone_index"],
        unique=True,
        postgresql_where=sa.text("customer_id IS NULL AND phone_index IS NOT NULL"),
    )
    op.create_table(
        "controls",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "name", name=op.f("pk_controls")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'dead'"), nullable=False),
        sa.Column("redriven", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_time", "dead_letters", ["last_failed_at"], unique=False)
    op.create_index("uq_dead_letters_job", "dead_letters", ["shop_id", "queue", "job_id"], unique=True)
    op.create_table(
        "decisions",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("gate", sa.Text(), nullable=True),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("hold_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("phone_index", sa.LargeBinary(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("zone_basis", sa.Text(), nullable=True),
        sa.Column("local_time", sa.Text(), nullable=True),
        sa.Column("warnings", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("facts_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("webhook_event_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("verdict IN ('send', 'hold', 'withhold')", name=op.f("ck_decisions_verdict")),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_message", "decisions", ["shop_id", "message_id"], unique=False)
    op.create_index("ix_decisions_phone", "decisions", ["shop_id", "phone_index", "decided_at"], unique=False)
    op.create_index("ix_decisions_time", "decisions", ["shop_id", "decided_at"], unique=False)
    op.create_table(
        "inbound_messages",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("phone_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("phone_index", sa.LargeBinary(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("keyword", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_inbound_messages")),
    )
    op.create_index("ix_inbound_messages_phone", "inbound_messages", ["shop_id", "phone_index"], unique=False)
    op.create_index(
        "uq_inbound_messages_provider", "inbound_messages", ["shop_id", "provider", "provider_id"], unique=True
    )
    op.create_table(
        "message_events",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raw_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_message_events")),
    )
    op.create_index("ix_message_events_message", "message_events", ["shop_id", "message_id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("phone_index", sa.LargeBinary(), nullable=False),
        sa.Column("resend_no", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("message_class", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("phone_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("parts", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("claim_owner", sa.Uuid(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'queued', 'submitting', 'accepted', 'sent', 'delivered', 'withheld', 'refused', 'failed', 'undelivered', 'expired', 'held', 'unknown')",
            name=op.f("ck_messages_state"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_due",
        "messages",
        ["state", "due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('planned', 'queued', 'held')"),
    )
    op.create_index("ix_messages_phone", "messages", ["shop_id", "phone_index", "planned_at"], unique=False)
    op.create_index(
        "ix_messages_submitting",
        "messages",
        ["claim_owner"],
        unique=False,
        postgresql_where=sa.text("state = 'submitting'"),
    )
    op.create_index("ix_messages_time", "messages", ["shop_id", "planned_at"], unique=False)
    op.create_index(
        "uq_messages_business_key",
        "messages",
        ["shop_id", "source", "source_id", "subject", "step", "phone_index", "resend_no"],
        unique=True,
    )
    op.create_table(
        "orders",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("checkout_token", sa.Text(), nullable=True),
        sa.Column("source_name", sa.Text(), nullable=True),
        sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("total", sa.Numeric(), nullable=True),
        sa.Column("phone_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("phone_index", sa.LargeBinary(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("province", sa.Text(), nullable=True),
        sa.Column("financial_status", sa.Text(), nullable=True),
        sa.Column("fulfillment_status", sa.Text(), nullable=True),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shopify_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("details_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_orders")),
    )
    op.create_index("ix_orders_contact", "orders", ["shop_id", "contact_id"], unique=False)
    op.create_table(
        "routes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "shop_id", name=op.f("pk_routes")),
    )
    op.create_table(
        "runs",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("automation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("webhook_event_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("context_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'done', 'dead')", name=op.f("ck_runs_state")),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_pending", "runs", ["created_at"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index("uq_runs_cause", "runs", ["shop_id", "webhook_event_id", "automation_id"], unique=True)
    op.create_table(
        "shops",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("transactional_sms_disabled", sa.Boolean(), nullable=True),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("uninstalled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'paused', 'uninstalled')", name=op.f("ck_shops_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shops")),
    )
    op.create_index("uq_shops_domain", "shops", ["domain"], unique=True)
    op.create_table(
        "suppressions",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("phone_index", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("suppressed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "phone_index", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "webhook_events",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("shopify_event_id", sa.Text(), nullable=True),
        sa.Column("shop_domain", sa.Text(), nullable=False),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("triggered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("body_bytes", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'received'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("object_id", sa.Text(), nullable=True),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'processed', 'ignored', 'rejected', 'dead', 'owed')",
            name=op.f("ck_webhook_events_state"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_webhook_events")),
    )
    op.create_index("ix_webhook_events_by_time", "webhook_events", ["shop_id", "received_at"], unique=False)
    op.create_index(
        "ix_webhook_events_received",
        "webhook_events",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_index("uq_webhook_events_delivery", "webhook_events", ["shop_id", "topic", "webhook_id"], unique=True)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_heartbeat_at"), "workers", ["heartbeat_at"], unique=False)

    op.execute("GRANT USAGE ON SCHEMA public TO smsblossom_app, smsblossom_sweeper")
    op.execute("GRANT SELECT ON alembic_version TO smsblossom_app, smsblossom_sweeper")
    share("routes")
    share("workers")
    protect("audit_log", append_only=True)
    protect("automations")
    protect("consent_events", append_only=True)
    protect("contacts")
    protect("controls")
    protect("dead_letters")
    protect("decisions", append_only=True)
    protect("inbound_messages")
    protect("message_events", append_only=True)
    protect("messages")
    protect("orders")
    protect("runs")
    protect("shops", column="id")
    protect("suppressions")
    protect("webhook_events")
    # Every shop's sending looks at the system's switches (stop-all, held after a restore).
    op.execute(f"CREATE POLICY controls_system ON controls FOR SELECT TO smsblossom_app USING (shop_id = {SYSTEM})")
    # Ciphertext does not compress: spare PostgreSQL the attempt, and keep what fits a page beside its row.
    for table, column in SEALED_BODIES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE webhook_events SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index(op.f("ix_workers_heartbeat_at"), table_name="workers")
    op.drop_table("workers")
    op.drop_index("uq_webhook_events_delivery", table_name="webhook_events")
    op.drop_index(
        "ix_webhook_events_received", table_name="webhook_events", postgresql_where=sa.text("state = 'received'")
    )
    op.drop_index("ix_webhook_events_by_time", table_name="webhook_events")
    op.drop_table("webhook_events")
    op.drop_table("suppressions")
    op.drop_index("uq_shops_domain", table_name="shops")
    op.drop_table("shops")
    op.drop_index("uq_runs_cause", table_name="runs")
    op.drop_index("ix_runs_pending", table_name="runs", postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("runs")
    op.drop_table("routes")
    op.drop_index("ix_orders_contact", table_name="orders")
    op.drop_table("orders")
    op.drop_index("uq_messages_business_key", table_name="messages")
    op.drop_index("ix_messages_time", table_name="messages")
    op.drop_index("ix_messages_submitting", table_name="messages", postgresql_where=sa.text("state = 'submitting'"))
    op.drop_index("ix_messages_phone", table_name="messages")
    op.drop_index(
        "ix_messages_due", table_name="messages", postgresql_where=sa.text("state IN ('planned', 'queued', 'held')")
    )
    op.drop_table("messages")
    op.drop_index("ix_message_events_message", table_name="message_events")
    op.drop_table("message_events")
    op.drop_index("uq_inbound_messages_provider", table_name="inbound_messages")
    op.drop_index("ix_inbound_messages_phone", table_name="inbound_messages")
    op.drop_table("inbound_messages")
    op.drop_index("ix_decisions_time", table_name="decisions")
    op.drop_index("ix_decisions_phone", table_name="decisions")
    op.drop_index("ix_decisions_message", table_name="decisions")
    op.drop_table("decisions")
    op.drop_index("uq_dead_letters_job", table_name="dead_letters")
    op.drop_index("ix_dead_letters_time", table_name="dead_letters")
    op.drop_table("dead_letters")
    op.drop_table("controls")
    op.drop_index(
        "uq_contacts_guest_phone",
        table_name="contacts",
        postgresql_where=sa.text("customer_id IS NULL AND phone_index IS NOT NULL"),
    )
    op.drop_index(
        "uq_contacts_guest_email",
        table_name="contacts",
        postgresql_where=sa.text("customer_id IS NULL AND phone_index IS NULL"),
    )
    op.drop_index("uq_contacts_customer", table_name="contacts")
    op.drop_index("ix_contacts_phone", table_name="contacts")
    op.drop_table("contacts")
    op.drop_index(
        "uq_consent_events_webhook",
        table_name="consent_events",
        postgresql_where=sa.text("webhook_event_id IS NOT NULL"),
    )
    op.drop_index("ix_consent_events_phone", table_name="consent_events")
    op.drop_index("ix_consent_events_contact", table_name="consent_events")
    op.drop_table("consent_events")
    op.drop_index("uq_automations_key", table_name="automations")
    op.drop_table("automations")
    op.drop_index("ix_audit_log_time", table_name="audit_log")
    op.drop_index("ix_audit_log_action", table_name="audit_log")
    op.drop_table("audit_log")

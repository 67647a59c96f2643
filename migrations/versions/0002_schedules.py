"""Schedules and their ticks; the group of a dead letter; the audit log by time

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from row_security import protect
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that waits for a lock makes every query behind it wait too: give up early, try again later.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "schedules",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("timing", postgresql.JSONB(), nullable=False),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("catch_up IN ('skip', 'once', 'all')", name=op.f("ck_schedules_catch_up")),
        sa.PrimaryKeyConstraint("shop_id", "id", name=op.f("pk_schedules")),
    )
    op.create_index("uq_schedules_name", "schedules", ["shop_id", "name"], unique=True)
    op.create_index(
        "ix_schedules_due",
        "schedules",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL AND NOT paused"),
    )
    op.create_table(
        "schedule_ticks",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'fired'"), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('fired', 'added', 'done', 'stopped', 'dead')", name=op.f("ck_schedule_ticks_state")
        ),
        sa.PrimaryKeyConstraint("shop_id", "schedule_id", "tick_at", name=op.f("pk_schedule_ticks")),
    )
    op.create_index(
        "ix_schedule_ticks_open",
        "schedule_ticks",
        ["fired_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('fired', 'added')"),
    )
    op.create_index(
        "ix_schedule_ticks_ended",
        "schedule_ticks",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.add_column("dead_letters", sa.Column("job_group", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_dead_letters_state"), "dead_letters", "state IN ('dead', 'redriving', 'redriven')"
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
    protect("schedules")
    protect("schedule_ticks")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_audit_log_at", table_name="audit_log")
    op.drop_constraint(op.f("ck_dead_letters_state"), "dead_letters", type_="check")
    op.drop_column("dead_letters", "job_group")
    op.drop_table("schedule_ticks")
    op.drop_table("schedules")

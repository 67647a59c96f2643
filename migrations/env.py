"""Run by alembic. The connection is handed in by `smsblossom.store.migrations`, the only caller."""

from alembic import context
from sqlalchemy import Connection

from smsblossom.store.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=True,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Row-level security and grants for a tenant table, said once. Every migration that makes a table calls `protect`."""

from alembic import op

# A sub-select is planned once per statement; the bare call would be evaluated for every row.
SCOPE = "(SELECT string_to_array(current_setting('app.shop_ids', true), ',')::uuid[])::uuid[]"
SYSTEM = "'00000000-0000-0000-0000-000000000000'::uuid"


def protect(table: str, *, column: str = "shop_id", append_only: bool = False) -> None:
    """Two walls: the app sees the shops of its transaction, the sweeper sees all, anybody else sees nothing."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    rule = f"{column} = ANY ({SCOPE})"
    op.execute(f"CREATE POLICY {table}_app ON {table} TO smsblossom_app USING ({rule}) WITH CHECK ({rule})")
    op.execute(f"CREATE POLICY {table}_sweeper ON {table} TO smsblossom_sweeper USING (true) WITH CHECK (true)")
    writes = "INSERT" if append_only else "INSERT, UPDATE, DELETE"
    op.execute(f"GRANT SELECT, {writes} ON {table} TO smsblossom_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO smsblossom_sweeper")


def share(table: str) -> None:
    """A table without shops: both roles read and write it, and it holds nothing personal."""
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO smsblossom_app, smsblossom_sweeper")

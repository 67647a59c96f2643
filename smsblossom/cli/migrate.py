"""`smsblossom migrate`: bring the database to this release's tables."""

import click

from smsblossom import settings
from smsblossom.settings import SettingError


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="Revision to migrate to.")
def migrate(revision: str) -> None:
    """Bring the database to this release's tables.

    Connects as the owner role, by DATABASE_ADMIN_URL. The three roles are made once by a superuser:
    psql -f migrations/roles.sql
    """
    from smsblossom.store import migrations

    admin_url = settings.load().database_admin_url
    if admin_url is None:
        example = "postgresql://smsblossom_owner:secret@localhost/smsblossom"
        raise SettingError("DATABASE_ADMIN_URL", "is not set", example)
    migrations.upgrade(admin_url, revision)
    click.echo(f"database is at {revision}")

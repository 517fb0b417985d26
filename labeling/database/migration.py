"""Bringing a database to the version of this code: forward only, after a backup."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect

from labeling.database import migrations
from labeling.database.connection import Database, said_plainly
from sae.errors import UserError


def bring_up_to_date(database: Database, *, create: bool) -> None:
    """Makes the tables of an empty database, or migrates those of an older one.

    Raises:
        UserError: It is of a newer version, holds something else, or is empty and `create` is off.
    """
    version = database.version()
    if version is None:
        refuse_strangers(database, create=create)
    elif version > migrations.HEAD:
        raise UserError(
            f"The database is of version {version}, expected {migrations.HEAD} or older: a newer ClinLens wrote it. "
            "Install that one."
        )
    else:
        from labeling.database import backup

        backup.before_migration(database, version)
    database.hold()
    with said_plainly(database.url), database.engine.connect().execution_options(is_write=True) as conn, conn.begin():
        upgrade(conn)


def refuse_strangers(database: Database, *, create: bool) -> None:
    """Refuses a database without our tables, unless it is empty and to be made ours."""
    with database.engine.connect() as conn:
        tables = inspect(conn).get_table_names()
    if tables:
        raise UserError(
            f"The database holds {len(tables)} tables that are not ours, expected an empty one or judgements. Give another one."
        )
    if not create:
        raise UserError("The database is empty, expected judgements. Check its address; `clinlens serve` fills one.")


def upgrade(conn: Connection, revision: str = "head") -> None:
    """Runs the migrations that are missing."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    command.upgrade(config, revision)

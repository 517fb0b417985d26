"""Alembic's door to the migrations: the connection is handed in by `labeling.database.migration`."""

from alembic import context

from labeling.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

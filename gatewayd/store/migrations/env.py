"""Alembic's way in: it runs on the connection that `store/migrate.py` opened."""

from alembic import context

from gatewayd import failpoints
from gatewayd.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
failpoints.reach("migrate")

"""Alembic's entry point: runs the migrations on the workspace's connection, inside its transaction."""

from __future__ import annotations

from alembic import context

from preflab.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite supports it, and the workspace holds the one transaction
    render_as_batch=True,
)
context.run_migrations()

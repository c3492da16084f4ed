"""Alembic revisions, each with a test on a filled database."""

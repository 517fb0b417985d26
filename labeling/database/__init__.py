"""The database of judgements: SQLite by default, PostgreSQL by URL."""

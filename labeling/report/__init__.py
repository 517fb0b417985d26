"""The agreement report: one page and one JSON that a methods section can cite."""

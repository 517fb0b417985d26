"""How the tables came about, version by version; forward only."""

HEAD = "0002"
"""The version that this code works with; revisions are numbered, so that a newer one is known for what it is."""

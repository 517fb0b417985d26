"""`clinlens trace`: a concept across the layers of a run."""

"""`clinlens steer`: changing features while the model answers, what that does, what it costs, and profiles of it."""

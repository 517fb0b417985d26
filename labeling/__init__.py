"""Physicians' work: queue, judgements, agreement. Never imports torch, so that it runs without a model."""

"""Addresses, one noun per file."""

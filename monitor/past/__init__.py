"""Asking the past: search in what was heard or in recordings, and another configuration tried on it."""

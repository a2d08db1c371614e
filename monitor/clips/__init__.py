"""Recordings of what was heard, where they are asked for: cut to the sample, written whole or not at all."""

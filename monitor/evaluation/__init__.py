"""Labelled sound, what was heard of it, and the figures that follow; runs nothing itself."""

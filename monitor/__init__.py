"""Listen to microphones, tell which described sounds are heard, and say so."""

__version__ = "0.1.0"

"""How fast this machine scores: `sound-monitor bench`."""

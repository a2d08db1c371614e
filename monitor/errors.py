"""What can go wrong and is told in one line; anything else is a bug and ends the process."""


class MonitorError(Exception):
    """An error whose text names the thing, the value and the remedy, for the user to read as is."""


class ConfigError(MonitorError):
    """The configuration can't be used; carries one line per finding."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class SourceError(MonitorError):
    """A source can't be opened or has stopped delivering; it is retried."""


class EncoderError(MonitorError):
    """The model can't be loaded or can't run."""


class SinkError(MonitorError):
    """A sink can't take events now; it is retried."""


class CredentialError(MonitorError):
    """A password or token can't be had from its file."""

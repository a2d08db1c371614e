"""What can go wrong and is told in one line; anything else is a bug and ends the process."""

import errno

_REMEDIES = {
    errno.ENOENT: "mend the path",
    errno.ENOTDIR: "mend the path",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EACCES: "give this user the right to it, or name another",
    errno.EPERM: "give this user the right to it, or name another",
    errno.EROFS: "name a place that can be written to",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "make room",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "allow more open files (fs.file-max)",
    errno.ENOMEM: "free some memory",
    errno.EIO: "look whether the disk is failing",
}


def in_words(error: OSError) -> str:
    """Tell what the system refused and, where the user can, what mends it."""
    cause = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0)
    return cause if remedy is None else f"{cause}; {remedy}"


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

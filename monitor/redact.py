"""Text from outside, made fit to be shown: without passwords, and in one line."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"//\S+")
_USER = re.compile(r"//[^\s/?#]*@")
# A password that should have been percent-encoded: what stands after the colon isn't a port.
_UNESCAPED = re.compile(r"//[^\s/?#@]*:(?![0-9]{0,5}(?:[/?#]|$))(?:(?!//)[^\s@])*@")
_PARAMETER = re.compile(
    r"((?:pass|pwd|secret|token|key|auth|sig|credential)[\w.-]{0,40}=)[^&#;\s]+", re.IGNORECASE
)


def without_credentials(url: str) -> str:
    """Return an address, or a text with addresses in it, with *** for user, password and secret parameters.

    `rtsp://user:secret@camera/1?token=abc` becomes `rtsp://***@camera/1?token=***`.
    """
    return _ADDRESS.sub(_redacted, url)


def _redacted(address: re.Match[str]) -> str:
    without_user = _UNESCAPED.sub("//***@", _USER.sub("//***@", address[0]))
    return _PARAMETER.sub(r"\1***", without_user)


def one_line(text: str) -> str:
    """Escape what would begin a new line or move the cursor, so that no input can forge a record."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

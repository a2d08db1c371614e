"""Secrets from files: a password or token is the first line of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitor.errors import CredentialError

_MOST_CHARACTERS = 4096


def read_secret(path: Path | None, field: str, credential: str, environ: Mapping[str, str]) -> str | None:
    """Return the secret in the file that a field names, else in systemd's credential, else None.

    Raises CredentialError, which never holds anything of the file.
    """
    found = secret_file(path, field, credential, environ)
    return None if found is None else _first_line(*found, kind=credential.rpartition("-")[2])


def secret_file(
    path: Path | None, field: str, credential: str, environ: Mapping[str, str]
) -> tuple[Path, str] | None:
    """Return the file that a secret is in, and what to call it; None where there is none."""
    if path is not None:
        return path, field
    if "CREDENTIALS_DIRECTORY" in environ:
        given = Path(environ["CREDENTIALS_DIRECTORY"]) / credential
        if given.exists():
            return given, f"systemd's credential {credential}"
    return None


def _first_line(path: Path, name: str, kind: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(_MOST_CHARACTERS).rstrip("\r\n")
    except OSError as error:
        raise CredentialError(
            f"{name} {path}: {error.strerror}; make it a file that this user can read"
        ) from None
    except UnicodeDecodeError:
        raise CredentialError(f"{name} {path}: is not text in UTF-8; its first line is the {kind}") from None
    if not secret:
        raise CredentialError(f"{name} {path}: its first line is empty; write the {kind} there")
    return secret

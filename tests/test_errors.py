"""What the system refuses, in words that name the remedy."""

import errno
import os
from pathlib import Path

import pytest

from monitor.errors import in_words


def refused(act) -> OSError:
    try:
        act()
    except OSError as error:
        return error
    pytest.fail("nothing was refused")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none/a.wav", "No such file or directory; mend the path"),
        ("file/a.wav", "Not a directory; mend the path"),
        (".", "Is a directory; name a file"),
        ("x" * 300, "File name too long; give it a shorter name"),
    ],
)
def test_what_the_system_says_comes_with_what_mends_it(tmp_path, name, says):
    (tmp_path / "file").touch()
    assert in_words(refused((tmp_path / name).read_bytes)) == says


def test_a_full_disk_wants_room():
    with Path("/dev/full").open("wb", buffering=0) as file:
        assert in_words(refused(lambda: file.write(b"x"))) == "No space left on device; make room"


def test_what_nobody_can_mend_is_told_as_it_is():
    assert in_words(OSError(errno.EXDEV, os.strerror(errno.EXDEV))) == "Invalid cross-device link"
    assert in_words(OSError("of no number")) == "of no number"
    assert in_words(TimeoutError()) == "TimeoutError"

"""A wall clock that a test can set: imported by every Python that has this folder in its PYTHONPATH.

The file that SOUND_MONITOR_TEST_CLOCK names holds the offset in seconds, a little-endian double. Only
`time.time` is changed: that a clock is set doesn't touch the monotonic one.
"""

import mmap
import os
import struct
import time

if "SOUND_MONITOR_TEST_CLOCK" in os.environ:
    with open(os.environ["SOUND_MONITOR_TEST_CLOCK"], "rb") as file:  # noqa: PTH123 - every start waits for it
        _offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    _true_time = time.time
    time.time = lambda: _true_time() + struct.unpack_from("<d", _offset)[0]

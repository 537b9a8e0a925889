"""Whether a JPEG has more scans than a picture needs: each takes time to decode, and may be empty.

A progressive JPEG of a megabyte has room for tens of thousands, each over the whole picture.
"""

import re

MOST_SCANS = 100
"""Programs write 1 to 20."""
_START_OF_SCAN, _END = b"\xda", b"\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")
"""One with a segment after it; the data of a scan holds none (ITU-T T.81, B.1.1.2 and F.1.2.3)."""


def has_many_scans(jpeg: bytes) -> bool:
    """Whether a JPEG has ``MOST_SCANS`` or more.

    What lies inside a segment, as a thumbnail does, or after the picture, as a phone's film does,
    is not counted.
    """
    if jpeg.count(b"\xff" + _START_OF_SCAN) < MOST_SCANS:  # of almost every file, and fast
        return False
    count, place = 0, 2
    while (marker := _MARKER.search(jpeg, place)) and marker[1] != _END and count < MOST_SCANS:
        count += marker[1] == _START_OF_SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return count == MOST_SCANS

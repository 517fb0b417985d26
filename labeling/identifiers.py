"""Names and hashes that two hospitals can give without asking each other.

- An id is a UUIDv7: unique wherever it is made, and in the order of its making.
- A hash is the SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8, no NaN.
- A time is UTC in ISO 8601 with microseconds and `Z`, so that the order of texts is the order of times.
"""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import uuid6

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once: `json.dumps` would make one for every value, which is half of its time."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def new_id() -> str:
    """A fresh UUIDv7, 36 characters."""
    return str(uuid6.uuid7())


def canonical(value: Any) -> str:
    """The one JSON text of a value.

    Raises:
        ValueError: It holds NaN or an infinity, which JSON does not know.
    """
    return ENCODER.encode(value)


def sha256(value: Any) -> str:
    """The hash of a value's canonical JSON, or of bytes as they are; 64 hexadecimal digits."""
    data = value if isinstance(value, bytes) else canonical(value).encode()
    return hashlib.sha256(data).hexdigest()


def timestamp(moment: datetime) -> str:
    """A moment as it is stored.

    Raises:
        ValueError: It has no time zone, so that nobody knows when it was.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(timestamp: str) -> datetime:
    """A stored time as a moment.

    Raises:
        ValueError: It is not written as one.
    """
    if not TIME.fullmatch(timestamp):
        raise ValueError("a time in another form than YYYY-MM-DDTHH:MM:SS.ffffffZ")
    return datetime.fromisoformat(timestamp)

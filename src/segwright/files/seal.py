"""Checksums against accidents: of a file's bytes, and of a JSON object by an entry of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from segwright.files.record import encode_record
from segwright.untrusted import decode_object

CHECK = "check"


def digest(content: bytes) -> str:
    """The first 64 bits of a SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def seal(content: Mapping[str, Any]) -> bytes:
    """``encode_record`` of an object whose last entry is its checksum. Spaces and the order of its entries do not count."""
    known = decode_object(encode_record({key: value for key, value in content.items() if key != CHECK}))
    return encode_record(known | {CHECK: _check(known)})


def unseal(content: bytes, *, needed: bool = True) -> dict[str, Any]:
    """What ``seal`` wrote, without the checksum.

    Args:
        needed: False takes an object without a checksum too, as earlier versions wrote it.

    Raises:
        ValueError: no JSON object, or one that was damaged or edited.
    """
    found = decode_object(content)
    if CHECK not in found and not needed:
        return found
    check = found.pop(CHECK, None)
    if check is None:
        raise ValueError("it has no checksum, so an earlier version wrote it, or it was edited")
    if check != _check(found):
        raise ValueError("its checksum is another one")
    return found


def _check(content: Mapping[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True).encode())

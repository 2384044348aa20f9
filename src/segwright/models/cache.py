"""What is known of photos that were seen before, so that other words need no network a second time."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from segwright.types import Image

MOST = 512 * 2**20  # bytes
T = TypeVar("T")


class Memory:
    """Results of networks by photo and settings, the latest ones up to ``most`` bytes. It serves one set of networks.

    A photo is known by a checksum of its pixels, so sessions share what they show alike and nobody reads another's photo.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._known: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all arrays and tensors in it."""
        with self._lock:
            return sum(size for _, size in self._known.values())

    def get(self, key: Hashable) -> Any:
        """What was kept, or None; it counts as the latest then."""
        with self._lock:
            if key not in self._known:
                return None
            self._known.move_to_end(key)
            return self._known[key][0]

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep a value, and forget the oldest ones beyond the limit; a value above the limit is not kept."""
        size = size_of(value)
        with self._lock:
            self._known.pop(key, None)
            if size <= self.most:
                self._known[key] = value, size
            while sum(s for _, s in self._known.values()) > self.most:
                self._known.popitem(last=False)


def each(memory: Memory | None, what: Hashable, images: Sequence[Image], make: Callable[[list[int]], Sequence[T]]) -> list[T]:
    """One value a photo: known ones from ``memory``, the others made in one batch.

    Args:
        what: which value it is, with all on which it depends beside the photo.
        make: places in ``images`` -> their values; all places where there is no memory.
    """
    if memory is None:
        return list(make(list(range(len(images)))))
    keys = [(what, checksum(image)) for image in images]
    found = [memory.get(key) for key in keys]
    missing = [i for i, value in enumerate(found) if value is None]
    for i, value in zip(missing, make(missing) if missing else (), strict=True):
        memory.keep(keys[i], value)
        found[i] = value
    return found


def captions(networks: Any, memory: Memory | None, images: Sequence[Image]) -> list[str]:
    """The captioner's captions, known ones from ``memory``."""
    return each(memory, "caption", images, lambda rows: networks.captioner.caption([images[i] for i in rows]))


def checksum(image: Image) -> str:
    """Of a photo's size and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def size_of(value: Any) -> int:
    """Bytes of the arrays and tensors in a value; what else it holds counts for nothing."""
    if isinstance(value, Tensor):
        return value.nbytes
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(size_of(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list | tuple) else 0

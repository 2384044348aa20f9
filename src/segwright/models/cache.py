"""What networks computed before, so that other words or settings need no network a second time.

A wrapper around the networks' own calls: whoever calls them knows nothing of it. A call is known by the kind of network, the
method's name, and the content of every argument; results must not be modified.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Set
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

MOST = 512 * 2**20  # bytes
# Kind of network -> calls whose results depend on their arguments alone.
CALLS = {
    "diffusion": ("features", "encode"),
    "tiny_vae": (),
    "clip": ("embed_images", "embed_masked", "patch_features", "keys"),
    "captioner": ("caption", "published"),
    "vit": ("features", "keys"),
    "dino": ("features", "keys"),
    "mae": ("features", "keys"),
    "sam": ("proposals",),
    "groupvit": (),
}
N = TypeVar("N")


class Cache:
    """Results of one set of networks' calls, the latest ones up to ``most`` bytes.

    Photos are known by their pixels, so sessions share what they show alike and nobody reads another's photo.
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
        """Keep a value, and drop the oldest ones beyond the limit; a value above the limit is not kept."""
        size = size_of(value)
        with self._lock:
            self._known.pop(key, None)
            if size <= self.most:
                self._known[key] = value, size
            while sum(s for _, s in self._known.values()) > self.most:
                self._known.popitem(last=False)


class _Network:
    """One network; the calls named are cached, all else is its own."""

    def __init__(self, network: Any, kind: str, cache: Cache, owner: str) -> None:
        self._network, self._kind, self._cache, self._owner = network, kind, cache, owner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if name not in CALLS[self._kind]:
            return found

        def call(*given: Any, **named: Any) -> Any:
            key = digest((self._owner, self._kind, name, given, sorted(named.items())))
            known = self._cache.get(key)
            if known is None:
                known = found(*given, **named)
                self._cache.keep(key, known)
            return known

        return call


class _Networks:
    """A preset's networks, each wrapped when it is first asked for."""

    def __init__(self, networks: Any, cache: Cache) -> None:
        self._networks, self._cache = networks, cache
        preset, swapped = networks.preset, sorted(map(repr, networks.swapped.items()))
        self._owner = f"{preset.name} {preset.tiny} {preset.beams} {networks.device} {networks.dtype} {swapped}"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._networks, name)
        if name not in CALLS:
            return found
        wrapped = _Network(found, name, self._cache, self._owner)
        setattr(self, name, wrapped)
        return wrapped


def cached(networks: N, cache: Cache) -> N:
    """The same networks, with ``CALLS`` answered from ``cache`` where they were made before."""
    wrapped: Any = _Networks(networks, cache)
    return wrapped


def digest(value: Any) -> str:
    """Of the content of a call's arguments."""
    known = hashlib.sha256()
    _feed(known, value)
    return known.hexdigest()


def _feed(known: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        known.update(f"tensor {value.dtype} {tuple(value.shape)} {value.device}".encode())
        known.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        known.update(f"array {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        known.update(f"row {len(value)}".encode())
        for item in value:
            _feed(known, item)
    elif isinstance(value, Mapping):
        _feed(known, [*value.items()])
    else:
        known.update(f"{type(value).__name__} {value!r};".encode())


def size_of(value: Any) -> int:
    """Bytes of the arrays and tensors in a value; what else it holds counts for nothing."""
    if isinstance(value, Tensor | np.ndarray):
        return int(value.nbytes)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(size_of(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list | tuple | Set) else 0

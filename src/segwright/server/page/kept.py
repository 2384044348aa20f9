"""What the page remembers of each browser tab: what it asked for last and what came of it, for "Why" and for a reload."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

SESSIONS = 8  # whose results are kept, each up to a few hundred megabytes; the oldest forget theirs
OLDEST = 3600  # seconds


@dataclass(frozen=True)
class Kept:
    """Of one tab.

    Attributes:
        asked: the values of the first tab's inputs.
        result: what came of them; None: nothing yet.
        at: when, by ``time.monotonic``.
    """

    asked: tuple[Any, ...]
    result: Any
    at: float


class Shelf:
    """The latest of each tab, at most ``most`` of them, none older than ``oldest`` seconds."""

    def __init__(self, most: int = SESSIONS, oldest: float = OLDEST) -> None:
        self.most, self.oldest = most, oldest
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, token: str, asked: tuple[Any, ...], result: Any = None) -> None:
        """Remember; what the tab had before is forgotten."""
        with self._lock:
            self._kept.pop(token, None)
            self._kept[token] = Kept(asked, result, time.monotonic())
            self._tidy()

    def get(self, token: str) -> Kept | None:
        """What is remembered of a tab."""
        with self._lock:
            self._tidy()
            return self._kept.get(token)

    def __len__(self) -> int:
        return len(self._kept)

    def _tidy(self) -> None:
        now = time.monotonic()
        for token in [token for token, kept in self._kept.items() if now - kept.at > self.oldest]:
            del self._kept[token]
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)

"""What the page remembers is bounded in number and in time, so that a server's memory stays flat over a day."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from segwright.server.page import kept
from segwright.server.page.kept import OLDEST, SESSIONS, Shelf


class Result(SimpleNamespace):
    """Something large."""


def test_a_thousand_visitors_leave_eight_results_behind() -> None:
    shelf, alive = Shelf(), []
    for number in range(1000):
        made = Result(scores=bytearray(10_000))
        alive.append(weakref.ref(made))
        shelf.put(f"tab {number}", ("photo.jpg", "dog"))
        shelf.put(f"tab {number}", ("photo.jpg", "dog"), made)
        del made
    gc.collect()
    assert len(shelf) == sum(one() is not None for one in alive) == SESSIONS
    assert shelf.get("tab 0") is None
    found = shelf.get("tab 999")
    assert found is not None
    assert found.asked == ("photo.jpg", "dog")


def test_who_is_gone_for_an_hour_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(kept.time, "monotonic", lambda: now[0])
    shelf = Shelf()
    shelf.put("early", (), Result())
    now[0] += OLDEST / 2
    shelf.put("late", (), Result())
    now[0] += OLDEST / 2 + 1
    assert shelf.get("early") is None
    assert shelf.get("late") is not None
    assert len(shelf) == 1


def test_a_new_request_forgets_the_result_before() -> None:
    shelf = Shelf()
    shelf.put("tab", ("a",), Result())
    shelf.put("tab", ("b",))
    found = shelf.get("tab")
    assert found is not None
    assert found.result is None
    assert found.asked == ("b",)

"""``segwright.doctor``: what is whole in folders that segwright wrote, what is damaged, and what can be made again.

Nothing that is whole is touched, and nothing is thrown away: what is damaged is set aside as NAME.damaged, and the next start of
its command makes it again. What needs no networks is made at once: a run's overlays, the lines of a journal in their order,
bank.json from the bank's words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from segwright.errors import InputError
from segwright.files.places import Local, Place, find_place, is_url
from segwright.mending.banks import examine_bank
from segwright.mending.findings import Examined
from segwright.mending.journals import KINDS, REPORT, Kind, examine_journal
from segwright.runs.refine_masks import RUN_FILE
from segwright.runs.store import RUN


def doctor(folder: str | os.PathLike[str], repair: bool = False) -> list[Examined]:
    """Examine what segwright wrote: a run (a folder or URL), a bank, a report, refined masks, or all that lies below a folder.

    Args:
        repair: set aside what is damaged, make again what needs no networks; see above.

    Returns:
        one a folder that segwright wrote, in the order of their names.

    Raises:
        InputError: there is no such folder, nothing in it that segwright wrote, or somebody is at work there (``repair``).
        OutputError: it cannot be mended because it cannot be written.
    """
    if is_url(folder):
        found = [(find_place(folder), kind) for kind in _kinds(find_place(folder))]
    else:
        top = Path(folder).parent if Path(folder).name == REPORT else Path(folder)
        if not top.is_dir():
            raise InputError(f"there is no folder {str(top)!r}; give a run, a bank, a report, or a folder of them")
        found = [(place, kind) for place in _below(top) for kind in _kinds(place)]
    if not found:
        raise InputError(f"there is no run, bank, report, diagnosis or export in {os.fspath(folder)!r}; give a folder that has one")
    return [examine_bank(place, repair) if kind is None else examine_journal(place, kind, repair) for place, kind in found]


def _below(top: Path) -> Iterator[Local]:
    """A folder that segwright wrote, or those below."""
    if _kinds(Local(top)):
        yield Local(top, "command")
        return
    for entry in sorted(top.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            yield from _below(entry)


def _kinds(place: Place) -> list[Kind | None]:
    """What a folder is; None: a bank."""
    found: list[Kind | None] = [kind for kind in KINDS if place.exists(kind.lines)]
    if not found and place.exists(RUN_FILE):
        found = [kind for kind in KINDS if kind.head == RUN_FILE]
    if not found and (place.exists(RUN) or place.exists(REPORT)):  # begun, or its lines are gone
        found = [KINDS[1] if place.exists(REPORT) else KINDS[0]]
    return found + ([None] if place.exists("bank.json") or _words(place) else [])


def _words(place: Place) -> bool:
    return isinstance(place, Local) and any(place.folder.glob("words/*/word.json"))

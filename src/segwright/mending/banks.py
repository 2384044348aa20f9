"""Banks: a word that is damaged becomes an unfinished one, whose making resumes with what is whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from segwright.errors import InputError
from segwright.files.places import Local, Place
from segwright.mending.findings import Examined, Mending, empty_folders, leftovers
from segwright.methods.ovdiff.bank import Bank, rebuilt_head


def examine_bank(place: Place, repair: bool) -> Examined:
    """A bank's words; one that is damaged becomes an unfinished one, whose making resumes with what is whole."""
    if not isinstance(place, Local):
        raise InputError(f"{place.path('')!r} is a bank; banks lie in folders of this machine")
    work = Mending(place, repair)
    leftovers(work)
    if repair:
        place.open()
    try:
        empty_folders(work)
        bank = _bank_head(work)
        whole = sum(_word(work, bank, path) for path in sorted(place.folder.glob("words/*")) if path.is_dir()) if bank else 0
    finally:
        if repair:
            place.close()
    return Examined(str(place.folder), "bank", whole, tuple(work.findings))


def _bank_head(work: Mending) -> Bank | None:
    folder = Path(work.place.path(""))
    try:
        return Bank.open(folder)
    except InputError as error:
        made = rebuilt_head(folder)
        state = "damaged" if work.place.exists("bank.json") else "missing"
        if made is None:
            work.note("bank.json", state, str(error), "cannot be made again; make the bank anew in another folder")
            return None

        def mend() -> None:
            work.aside("bank.json")
            work.place.write({"bank.json": made})

        work.note("bank.json", state, "it says how the words were made", "is made again by --repair, from the words", mend)
        return Bank.open(folder) if work.repair else Bank(folder, {})


def _word(work: Mending, bank: Bank, path: Path) -> bool:
    again = "segwright prototypes makes its word again, with what is whole"
    name = f"words/{path.name}/word.json"
    if not work.place.exists(name):
        work.note(f"words/{path.name}", "unfinished", "the word is not finished", again)
        return False
    try:
        entry = bank.entry(path)
    except InputError as error:
        work.note(name, "damaged", str(error), f"is set aside by --repair; {again}", partial(work.aside, name))
        return False
    bad = [file for file, check in entry.files.items() if bank.checksum(entry, file) != check]
    for file in bad:
        there = work.place.exists(f"words/{path.name}/{file}")
        aside = partial(work.aside, f"words/{path.name}/{file}") if there else (lambda: None)
        reason = "it was edited or damaged" if there else "it is not there"
        state = "damaged" if there else "missing"
        work.note(f"words/{path.name}/{file}", state, reason, f"is set aside by --repair; {again}", aside)
    if bad and work.repair:
        work.aside(name)
    return not bad

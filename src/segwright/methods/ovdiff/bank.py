"""The bank: a folder of words, each with its support pictures, masks and prototypes; made once, used for every photo.

    BANK/bank.json                    how every word in it was made; a bank is of one preset and one set of settings
    BANK/words/NAME/pictures/000.png  support pictures, and 000.safetensors, where in each the word is
    BANK/words/NAME/*.safetensors     masks, and prototypes of each extractor
    BANK/words/NAME/word.json         written last: the word, its kind, and the checksum of every other file

A word without word.json is unfinished; what it has is used again. No file of one word depends on another word.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from segwright.errors import InputError, OutputError
from segwright.files.disk import TEMPORARY, atomic_write, synced
from segwright.files.journal import flat
from segwright.files.record import plain
from segwright.files.seal import seal, unseal
from segwright.untrusted import convert, read_bounded, safe_name

FORMAT = 2  # 2: support pictures at their own size for CLIP and DINO, masks of Eq. 1 at 512 pixels
KINDS = ("thing", "stuff")
LARGEST = 4_000_000_000  # bytes of one file
T = TypeVar("T")


@dataclass(frozen=True)
class _Head:
    """bank.json."""

    format: int
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        support = self.settings.get("support", {})
        if not isinstance(support, dict) or not isinstance(support.get("pictures", 1), int):
            raise ValueError("its settings are no settings")


@dataclass(frozen=True)
class _Word:
    """word.json."""

    word: str
    kind: Literal["thing", "stuff"]
    number: int
    files: dict[str, str]
    bank: dict[str, Any] | None = None  # the bank's settings, so that bank.json can be made again

    def __post_init__(self) -> None:
        for name in self.files:
            safe_name(name)


@dataclass(frozen=True)
class Entry:
    """One finished word.

    Attributes:
        number: in the order in which words came into the bank.
        folder: where its files are.
        files: relative name -> SHA-256 of its contents.
    """

    word: str
    kind: str
    number: int
    folder: Path
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """Of the kind and of all files' contents."""
        return hashlib.sha256(json.dumps([self.kind, sorted(self.files.items())]).encode()).hexdigest()[:16]


def _empty(bank: Path) -> bool:
    """No picture of any word was ever made in it: a run failed before, and its settings bind nobody."""
    return bank.is_dir() and not any((bank / "words").glob("*")) and (bank / "bank.json").is_file()


class Bank:
    """A bank folder. ``Bank.make`` opens or makes one for some settings, ``Bank.open`` one as it is."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = dict(settings)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Bank:
        """Raises:
        InputError: there is no bank, or its bank.json is damaged.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise InputError(f"there is no bank {str(path)!r}; make one with: segwright prototypes WORDS -o {path}")
        head = _read_as(path / "bank.json", _Head)
        if head.format != FORMAT:
            raise InputError(f"{path / 'bank.json'} describes no bank of format {FORMAT}; make the bank anew in another folder")
        return cls(path, head.settings)

    @classmethod
    def make(cls, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> Bank:
        """The bank in ``folder``, begun if there is none, or anew if it has not even a part of a word.

        Raises:
            InputError: the folder holds a bank of other settings (the sentence names the first that differs), or other things.
            OutputError: it cannot be written.
        """
        path = Path(folder).expanduser()
        wanted = json.loads(json.dumps(plain(settings)))
        if not (path / "bank.json").exists() or _empty(path):
            if path.is_dir() and any(
                p.name not in ("bank.json", "words") and not p.name.startswith(TEMPORARY) for p in path.iterdir()
            ):
                raise InputError(f"{str(path)!r} is no bank and not empty; choose a new folder for the bank")
            atomic_write(path / "bank.json", synced(seal({"format": FORMAT, "settings": wanted})))
        bank = cls.open(path)
        have, want = flat(bank.settings), flat(wanted)
        for key in [*want, *have]:
            if key != "dtype" and have.get(key) != want.get(key):  # prototypes are float32 in any case
                raise InputError(
                    f"the bank {str(path)!r} was made with {key} = {have.get(key)!r}, not {want.get(key)!r}; "
                    "give the same setting, or another folder"
                )
        return bank

    def entries(self) -> dict[str, Entry]:
        """The finished words by their names, in the order in which they came.

        Raises:
            InputError: a word.json is damaged.
        """
        found = [self.entry(path.parent) for path in (self.folder / "words").glob("*/word.json")]
        return {e.word: e for e in sorted(found, key=lambda e: (e.number, e.word))}

    def get(self, word: str) -> Entry | None:
        """A finished word; upper and lower case count as the same."""
        folder = self.path(word)
        return self.entry(folder) if (folder / "word.json").exists() else None

    def path(self, word: str) -> Path:
        """The folder of a word, whether it is there or not: readable letters, and a checksum, so that no two words share one."""
        key = unicodedata.normalize("NFC", word).casefold()
        readable = re.sub(r"[^a-z0-9]+", "-", key).strip("-")[:40]
        return self.folder / "words" / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}".lstrip("-")

    def tensors(self, entry: Entry, name: str) -> dict[str, Tensor]:
        """The tensors of one of a word's files, if its checksum is right.

        Raises:
            InputError: missing, cut short or edited.
        """
        path = entry.folder / name
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != entry.files.get(name):
            raise InputError(self._damaged(entry, path))
        try:
            return load_tensors(content)
        except (SafetensorError, ValueError) as error:
            raise InputError(self._damaged(entry, path)) from error

    def finish(self, word: str, kind: str) -> Entry:
        """Write word.json: from now on the word counts as made."""
        folder = self.path(word)
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not _passing(p))
        files = {name: hashlib.sha256(_read(folder / name)).hexdigest() for name in names}
        number = 1 + max((e.number for e in self.entries().values()), default=0)
        content = {"word": word, "kind": kind, "number": number, "files": files, "bank": self.settings}
        atomic_write(folder / "word.json", synced(seal(content)))
        return Entry(word, kind, number, folder, files)

    def verify(self) -> list[str]:
        """One sentence for everything that is wrong; an empty list if all is well."""
        wrong: list[str] = []
        for path in sorted((self.folder / "words").glob("*")):
            if not (path / "word.json").exists():
                wrong.append(f"{path} is unfinished; making its word again resumes there")
                continue
            try:
                entry = self.entry(path)
            except InputError as error:
                wrong.append(str(error))
                continue
            wrong += [
                self._damaged(entry, path / name) for name, known in entry.files.items() if self.checksum(entry, name) != known
            ]
        return wrong

    def remove(self, word: str) -> None:
        """Take a word out, finished or not.

        Raises:
            InputError: it is not in the bank.
            OutputError: the folder cannot be changed.
        """
        folder = self.path(word)
        if not folder.is_dir():
            known = ", ".join(self.entries()) or "none"
            raise InputError(f"the bank {str(self.folder)!r} has no word {word!r}; it has {known}")
        gone = folder.with_name(f"{TEMPORARY}{folder.name}")
        try:
            os.replace(folder, gone)
        except OSError as error:
            raise OutputError(f"{str(folder)!r} cannot be removed ({error.strerror}); check that you may write there") from error
        shutil.rmtree(gone, ignore_errors=True)

    def clean(self, word: str) -> None:
        """Remove what an interrupted run left half-written for a word."""
        for path in self.path(word).rglob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def entry(self, folder: Path) -> Entry:
        """The finished word in a folder.

        Raises:
            InputError: its word.json is damaged.
        """
        path = folder / "word.json"
        made = _read_as(path, _Word)
        if self.path(made.word) != folder:
            raise InputError(f"{path} describes no word of this bank; remove the folder {folder} and make the word again")
        return Entry(made.word, made.kind, made.number, folder, made.files)

    def checksum(self, entry: Entry, name: str) -> str:
        """SHA-256 of one of a word's files; "" if it is not there."""
        path = entry.folder / name
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    def _damaged(self, entry: Entry, path: Path) -> str:
        mend = f"take the word out (segwright bank remove {entry.word!r} {self.folder}) and make it again"
        return f"{path} is missing, cut short or was edited; {mend}"


def rebuilt_head(folder: Path) -> bytes | None:
    """bank.json again, from the words that know it; None where none does, or two do not agree."""
    known: list[dict[str, Any]] = []
    for path in sorted((folder / "words").glob("*/word.json")):
        with suppress(InputError):
            known += [settings for settings in (_read_as(path, _Word).bank,) if settings is not None]
    if not known or any(settings != known[0] for settings in known):
        return None
    return seal({"format": FORMAT, "settings": known[0]})


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, whole or not at all; the same tensors give the same bytes."""
    atomic_write(path, synced(save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})))


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of an unfinished word's file; None if it is not there or damaged: it is then made again."""
    try:
        return load_tensors(path.read_bytes())
    except (OSError, SafetensorError, ValueError):
        return None


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, LARGEST)
    except OSError as error:
        raise InputError(f"{path} of the bank cannot be read ({error.strerror}); run: segwright bank verify") from error


def _read_as(path: Path, kind: type[T]) -> T:
    """A file of the bank's JSON.

    Raises:
        InputError: it cannot be read, was damaged or edited.
    """
    content = _read(path)
    try:
        return convert(unseal(content, needed=False), kind)
    except ValueError as error:
        raise InputError(f"{path} is cut short or was edited ({error}); make the bank or the word again") from None


def _passing(path: Path) -> bool:
    return path.name.startswith(TEMPORARY) or path.name == "word.json"

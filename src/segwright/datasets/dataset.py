"""What every benchmark becomes: words, and items of a photo and its truth; and the checks that all readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.files.masks import read_label_map
from segwright.words.vocabulary import Vocabulary

IGNORED = 255
Truth = NDArray[np.int64]
Table = NDArray[np.int64]
REFUSED = -1  # in a table: a value that no mask of this data set may have


@dataclass(frozen=True)
class Item:
    """One photo of a data set.

    Attributes:
        id: unique in the data set; may hold "/". Bytes of a file's name that are no UTF-8 become "\\udcff".
        photo: its file.
        truth: gives the (H, W) int64 label map: 0 background, 1..N the words, 255 left out. Can be pickled.
    """

    id: str
    photo: Path
    truth: Callable[[], Truth]

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id.encode("utf8", "backslashreplace").decode())


@dataclass(frozen=True)
class Dataset:
    """A data set's split.

    Attributes:
        name: as in ``DATASETS``.
        split: which part of it.
        words: N class names; label i + 1 of a truth is words[i].
        kinds: N times "thing" or "stuff".
        background: background is a class of its own, scored with the others; otherwise its pixels are ``ignored``.
        items: the photos, in the official list's order.
        ignored: the label of pixels that do not count.
        official: N official names where they differ from ``words`` (aeroplane), else the words again.
    """

    name: str
    split: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    background: bool
    items: tuple[Item, ...]
    ignored: int = IGNORED
    official: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.kinds) != len(self.words) or len(self.official or self.words) != len(self.words):
            raise InputError(f"{self.name}: {len(self.words)} words need as many kinds and official names, got {len(self.kinds)}")
        if not self.items:
            raise InputError(f"{self.name} has no photo in split {self.split!r}; look into its list of photos")
        stray = next((i.id for i in self.items if i.id.startswith("/") or ".." in i.id.split("/")), None)
        if stray is not None:
            raise InputError(f"{self.name}: {stray!r} in the list of split {self.split!r} is no name of a photo; mend the list")
        if len({item.id for item in self.items}) < len(self.items):
            raise InputError(f"{self.name}: a photo is twice in the list of split {self.split!r}; take one of them out")

    @property
    def stuff(self) -> tuple[str, ...]:
        """The words that are stuff."""
        return tuple(word for word, kind in zip(self.words, self.kinds, strict=True) if kind == "stuff")

    def first(self, limit: int | None) -> Dataset:
        """The first ``limit`` photos, or all.

        Raises:
            InputError: a limit below 1.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit must be 1 or more, got {limit}")
        return self if limit is None else replace(self, items=self.items[:limit])


def of_vocabulary(
    name: str, split: str, vocabulary: Vocabulary, items: Iterable[Item], background: bool, *, official: Sequence[str] = ()
) -> Dataset:
    """A data set with the words, kinds and official names of a class list."""
    ours = {new: old for old, new in vocabulary.renamed}
    names = tuple(official) or tuple(ours.get(word, word) for word in vocabulary.words)
    return Dataset(name, split, vocabulary.words, vocabulary.kinds, background, tuple(items), official=names)


def find_base(root: Path | None, name: str, below: Sequence[str], parts: Sequence[str]) -> Path:
    """The folder that has all ``parts``: ``root`` itself, or one of ``below`` inside it.

    Raises:
        InputError: none has; the text names the first part that is missing where most of them are.
    """
    if root is None:
        raise InputError(f"{name} needs --root, the folder that holds it")
    if not root.is_dir():
        raise InputError(f"there is no folder {str(root)!r}; {name} expects {', '.join(parts)} in it (or in {below[0]} in it)")
    bases = [base for base in (*(root / b for b in below), root) if base.is_dir()]
    best = max(bases, key=lambda base: sum((base / part).exists() for part in parts))
    missing = [part for part in parts if not (best / part).exists()]
    if not missing:
        return best
    if len(missing) == len(parts):
        raise InputError(f"{str(root)!r} does not hold {name}: neither {below[0]}/{parts[0]} nor {parts[0]} is in it")
    raise InputError(f"{name} in {str(best)!r} is not complete: {missing[0]} is missing, it should lie at {best / missing[0]}")


def read_ids(file: Path, name: str) -> list[str]:
    """The first word of every line of a list of photos.

    Raises:
        InputError: it is missing, no text, or empty.
    """
    try:
        lines = file.read_text("utf8").splitlines()
    except FileNotFoundError:
        others = sorted(p.stem for p in file.parent.glob(f"*{file.suffix}"))
        known = f"; there are {', '.join(others[:10])}" if others else ""
        raise InputError(f"{name}: the list of photos {file} is missing{known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: the list of photos {file} cannot be read ({error}); it should have one name a line") from None
    ids = [line.split()[0] for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{name}: the list of photos {file} is empty; it should have one name a line")
    return ids


def check_files(files: Sequence[Path], name: str, what: str) -> None:
    """Refuse a data set of which files are missing, with one sentence that names the first.

    Raises:
        InputError: at least one is missing.
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{name}: {len(missing)} of {len(files)} {what} missing; the first should lie at {missing[0]}")


def check_split(split: str, known: Sequence[str], name: str) -> None:
    """Refuse an unknown split.

    Raises:
        InputError: it is not one of ``known``.
    """
    if split not in known:
        raise InputError(f"split of {name} must be one of {', '.join(known)}, got {split!r}")


def value_table(entries: dict[int, int], ignored: Iterable[int] = (), otherwise: int = REFUSED) -> Table:
    """(256,) int64: a mask's value -> label; what is in neither place becomes ``otherwise``."""
    table = np.full(256, otherwise, np.int64)
    table[list(entries)] = list(entries.values())
    table[list(ignored)] = IGNORED
    return table


def counted(classes: int, background: bool) -> Table:
    """The table of masks with 0 = background, 1..``classes`` the words and 255 void; 0 becomes 255 without background."""
    table = value_table({i: i for i in range(classes + 1)}, [IGNORED])
    table[0] = 0 if background else IGNORED
    return table


def read_mask(file: Path, table: Table) -> Truth:
    """(H, W) int64: a label PNG with its values looked up in ``table``.

    Raises:
        InputError: it cannot be read, or has a value that the table refuses.
    """
    values = read_label_map(file)
    labels = np.where((values >= 0) & (values < len(table)), table[np.clip(values, 0, len(table) - 1)], REFUSED)
    if (labels == REFUSED).any():
        wrong = int(values[labels == REFUSED].min())
        allowed = np.flatnonzero(table != REFUSED)
        raise InputError(
            f"{file} has the value {wrong}; masks of this data set hold {_ranges(allowed)}: is it the right class list?"
        )
    return labels


def masked_items(ids: Sequence[str], photos: Sequence[Path], masks: Sequence[Path], table: Table, name: str) -> list[Item]:
    """An item for each photo and mask, all files known to be there.

    Raises:
        InputError: some are missing.
    """
    check_files(photos, name, "photos")
    check_files(masks, name, "masks")
    return [Item(i, photo, partial(read_mask, mask, table)) for i, photo, mask in zip(ids, photos, masks, strict=True)]


def _ranges(values: NDArray[np.integer]) -> str:
    """0, 1, 2, 255 -> "0..2, 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)

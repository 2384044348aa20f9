"""A person's decisions on a run's photos: accepted or rejected, words taken away or renamed; kept beside the run, line by line.

    RUN/review.jsonl  one line a decision with its checksum, appended and on the disk before anybody hears that it is kept

A photo's last line counts. A line cut short by a kill is taken off with the next decision; everything before it stays. Several
processes may write: each appends under a lock, and a decision names the one that it was made after, so that nobody's is replaced
unseen. A decision on a mask that was made anew since does not count.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segwright.errors import InputError, OutputError
from segwright.files.journal import decode_lines, encode_line, last_check, whole_lines
from segwright.files.places import Local
from segwright.files.record import plain
from segwright.objects import box_of
from segwright.runs.reading import Collection, Done, Record
from segwright.untrusted import decode
from segwright.words.vocabulary import check_words

REVIEW = "review.jsonl"
VERDICTS = ("accepted", "rejected", "open")


@dataclass(frozen=True)
class Decision:
    """What a person decided on one photo.

    Attributes:
        name: of the photo's results.
        verdict: of ``VERDICTS``; "open" takes an earlier one back.
        removed: words whose regions are taken away.
        renamed: word -> what it is.
        by: who; may be empty.
        number: 1 for the run's first decision, and so on.
        seen: the number of the photo's decision that the person saw, 0 for none.
        mask: checksum of the label map's file that was decided on.
    """

    name: str
    verdict: str
    removed: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    by: str = ""
    number: int = 0
    seen: int = 0
    mask: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")
        if len(self.by) > 100:
            raise ValueError("a reviewer's name has at most 100 characters")
        for word in self.renamed.values():
            try:
                check_words([word])
            except InputError as error:
                raise ValueError(str(error)) from error


class OvertakenError(InputError):
    """Somebody else has decided on the photo meanwhile; ``now`` is what."""

    def __init__(self, now: Decision) -> None:
        super().__init__(f"{now.by or 'somebody else'} has decided on {now.name!r} meanwhile ({now.verdict}); look at it again")
        self.now = now


class Review:
    """The decisions on a run; any number of processes may have one open."""

    def __init__(self, run: Collection) -> None:
        """Raises:
        InputError: the run is at a URL, or its decisions are damaged.
        """
        if not isinstance(run.place, Local):
            raise InputError("a review needs the run in a folder of this machine; copy it here first")
        self.run = run
        self.file = Path(run.place.path(REVIEW))
        self.names = {str(line.name) for line in run.done}
        self.decisions()

    def decisions(self) -> dict[str, Decision]:
        """The last decision on each photo, by name; those on masks that were made anew since are left out.

        Raises:
            InputError: a line is damaged.
        """
        content = self.file.read_bytes() if self.file.exists() else b""
        found = {one.name: one for one in self._parsed(content)}
        return {name: one for name, one in found.items() if name in self.names and one.mask == self.mask(name)}

    def mask(self, name: str) -> str:
        """The checksum of a photo's label map."""
        return f"{zlib.crc32(self.run.place.read(f'{name}.png') or b''):08x}"

    def decide(self, decision: Decision) -> Decision:
        """Keep a decision; it is on the disk when this returns, with its number.

        Raises:
            OvertakenError: the photo has a newer decision than ``decision.seen``.
            InputError: no such photo, or words that it does not have.
            OutputError: it cannot be written.
        """
        if decision.name not in self.names:
            raise InputError(f"{decision.name!r} is no photo of this run")
        try:
            with self._locked() as file:
                content = whole_lines(file.read())
                lines = self._parsed(content)
                now = next((one for one in reversed(lines) if one.name == decision.name), None)
                mask = self.mask(decision.name)
                if now is not None and now.mask == mask and now.number != decision.seen:
                    raise OvertakenError(now)
                kept = replace(decision, number=len(lines) + 1, mask=mask)
                file.seek(0, os.SEEK_END)
                file.write(encode_line(plain(asdict(kept)), last_check(content)))
                file.flush()
                os.fsync(file.fileno())
                return kept
        except OSError as error:
            raise OutputError(f"{str(self.file)!r} cannot be written ({error.strerror or error}); free some space") from error

    def _parsed(self, content: bytes) -> list[Decision]:
        return list(decode_lines(whole_lines(content), partial(decode, kind=Decision), str(self.file)))

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, held by nobody else, without a line that a kill cut short."""
        with open(self.file, "a+b") as file:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            whole = len(whole_lines(content))
            if whole != len(content):
                file.truncate(whole)
            file.seek(0)
            yield file


def doubt(record: Record) -> float:
    """0..1, how much a photo needs a look: 1 less its least sure region's score; 1 where nothing was found, 0.5 without scores."""
    scores = [one.score for one in record.segments if one.score is not None]
    if not record.segments:
        return 1.0
    return 1.0 - min(scores) if scores else 0.5


def corrected(photo: Done, decision: Decision) -> Done:
    """The photo with regions taken away and renamed; what becomes one word's is one region."""
    words = list(photo.words)
    labels = np.array(photo.labels)
    kept: dict[int, list[Mapping[str, Any]]] = {}
    for one in photo.segments:
        word = str(one["word"])
        if word in decision.removed:
            labels[photo.labels == one["index"]] = 0
            continue
        name = decision.renamed.get(word, word)
        if name not in words:
            words.append(name)
        label = words.index(name) + 1
        labels[photo.labels == one["index"]] = label
        kept.setdefault(label, []).append(one)
    segments = tuple(
        _segment(label, words[label - 1], labels == label, [one["score"] for one in ones]) for label, ones in kept.items()
    )
    return replace(photo, words=tuple(words), labels=labels, segments=tuple(sorted(segments, key=lambda one: one["index"])))


def accepted(run: Collection) -> Collection:
    """The accepted photos of a run, corrected; its words with the new ones behind them."""
    chosen = {name: one for name, one in Review(run).decisions().items() if one.verdict == "accepted"}
    new = [word for one in chosen.values() for word in one.renamed.values()]
    words = tuple(dict.fromkeys([*run.words, *sorted(new)]))
    done = tuple(line for line in run.done if line.name in chosen)
    return _Accepted(run.place, run.run, words, done, run.failed, run.root, run.cut, run, chosen)


@dataclass(frozen=True)
class _Accepted(Collection):
    whole: Collection | None = None
    chosen: Mapping[str, Decision] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Done]:
        assert self.whole is not None
        for photo in replace(self.whole, done=self.done):
            yield corrected(photo, self.chosen[photo.name])


def _segment(label: int, word: str, mask: np.ndarray, scores: list[float | None]) -> dict[str, object]:
    known = [score for score in scores if score is not None]
    return {"index": label, "word": word, "area": int(mask.sum()), "box": box_of(mask), "score": max(known) if known else None}

"""What all campaigns share: numbered attacks with seeds of their own, a tally, damage, and folders brought back as they were."""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import SegwrightError

sys.path[:0] = [str(Path(__file__).parents[1])]  # tests/, for runs.toy and evaluation.toys

PIECES = (
    *(b"", b"\0", b"\xff", b"null", b'"', b"[" * 5000, b"-1", b"1e999", b"NaN", b"\\ud800", b"0", b"\n", b"\r\n", b"\xef\xbb\xbf"),
)
Attack = Callable[[random.Random, int], str]  # (its own chance, number) -> what came of it; whatever it raises is a fault
WRONG: tuple[Any, ...] = (None, True, -1, 0, 1e308, "x", "../x", [], {}, [[[]]], {"a": []})


@dataclass
class Tally:
    """What a campaign gave.

    Attributes:
        outcomes: how often each.
        faults: number of the attack and traceback.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)

    @property
    def attacks(self) -> int:
        return self.outcomes.total() + len(self.faults)


def campaign(attack: Attack, size: int, seed: int = 0, seconds: float = 3600, first: int = 0) -> Tally:
    """Attacks first .. size - 1, until the seconds are over; each has a seed of its own, so that one can be run alone."""
    tally, end = Tally(), time.monotonic() + seconds
    for number in range(first, size):
        if time.monotonic() > end:
            break
        try:
            tally.outcomes[attack(random.Random(f"{seed} {number}"), number)] += 1
        except KeyboardInterrupt:
            break
        except Exception:
            tally.faults.append((number, traceback.format_exc()))
    return tally


def finish(attack: Attack, tally: Tally) -> None:
    """What an attack has to say when all is over, if it is an object with an ``end``."""
    try:
        getattr(attack, "end", lambda: None)()
    except Exception:
        tally.faults.append((-1, traceback.format_exc()))


def main(about: str, make: Callable[[Path], Attack], size: int) -> int:
    """A campaign's command line: ``make`` prepares a folder and gives its attack."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=size, metavar="N", help="attacks (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3600, metavar="S", help="no attack begins later (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first attack (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="N", help="the attack of this number alone")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="campaign-"))
    only = options.only
    bounds = (options.first + options.size, options.first) if only is None else (only + 1, only)
    try:
        with quick():
            attack = make(folder)
            tally = campaign(attack, bounds[0], options.seed, options.seconds, bounds[1])
            finish(attack, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for number, text in tally.faults[:20]:
        print(f"--- attack {number} (--seed {options.seed} --only {number})\n{text}")
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(tally.outcomes.items()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{tally.attacks} attacks in {time.monotonic() - begun:.0f} s: {outcomes}; {len(tally.faults)} faults; peak {peak} MB")
    return 1 if tally.faults or not tally.attacks else 0


def sentence(error: SegwrightError) -> None:
    """An error is one sentence for people."""
    text = str(error)
    assert text.strip()
    assert "\n" not in text, text
    assert "Traceback" not in text


def tried(do: Callable[[], Any]) -> Any:
    """What comes, or None where it was refused in one sentence."""
    try:
        return do()
    except SegwrightError as error:
        sentence(error)
        return None


@contextmanager
def quick() -> Iterator[None]:
    """What is slow and under no attack made small: overlays, contact sheets, resamples of a report."""
    from segwright.evaluation import compare, report, run
    from segwright.files import save
    from segwright.mending import journals

    def drawn(image: Any, segmentation: Any) -> bytes:
        return save.encode_label_map(np.asarray(image)[:, :, 0] // 2 + segmentation.labels.astype(np.uint8))

    changes = [
        *((module, "encode_overlay", drawn) for module in (save, journals)),
        (run, "encode_sheet", lambda shown, scores, task: repr(sorted(scores.items())).encode()),
        *((module, "RESAMPLES", 50) for module in (compare, report)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class Snapshot:
    """A folder's files, to be brought back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, contents(folder)

    def restore(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = str(path.relative_to(self.folder))
            if path.is_symlink() or (path.is_file() and name not in self.files):
                path.unlink()
            elif path.is_dir() and name in self.files:
                shutil.rmtree(path)
        for name, content in self.files.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut out, put in, doubled; for text also a digit, a line, or a value of JSON."""
    return rng.choice(DAMAGES)(content, rng) if content else b"x"


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 10))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _piece(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    pieces = (
        b"",
        b"\0",
        b"\xff",
        b"null",
        b'"',
        b"[" * 5000,
        b"-1",
        b"1e999",
        b"NaN",
        b"\\ud800",
        b"0",
        b"\n",
        b"\r\n",
        b"\xef\xbb\xbf",
    )
    return content[:place] + rng.choice(pieces) + content[place + rng.choice((0, 0, 1, 5, 50)) :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((0, rng.randrange(len(content)), len(content) - 1, len(content) // 2))]


def _digit(content: bytes, rng: random.Random) -> bytes:
    places = [i for i, byte in enumerate(content[:100_000]) if byte in b"0123456789"]
    if not places:
        return _flip(content, rng)
    place = rng.choice(places)
    return content[:place] + b"%d" % rng.randrange(10) + content[place + 1 :]


def _line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines.insert(two, lines[one])
        case 2:
            lines[one], lines[two] = lines[two], lines[one]
        case _:
            lines[one] = lines[one].replace(b"\n", b"\r\n")
    return b"".join(lines)


def _value(content: bytes, rng: random.Random) -> bytes:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return _line(content, rng)
    at = found
    while isinstance(at, dict | list) and at:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = rng.choice(WRONG)
        break
    return json.dumps(found, indent=2).encode()


DAMAGES = (_flip, _flip, _piece, _cut, _digit, _digit, _line, _value)

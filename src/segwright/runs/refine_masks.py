"""Photos and coarse masks in, sharper masks out; what is done already is passed over, and a bad file stops no other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from segwright.errors import InputError, OutputError, SegwrightError, is_out_of_memory
from segwright.files.coarse_masks import TRUST, find_mask, read_coarse
from segwright.files.journal import Journal, decode_lines
from segwright.files.masks import encode_label_map
from segwright.files.names import plan_names
from segwright.files.places import Local
from segwright.files.record import plain, versions
from segwright.files.seal import digest
from segwright.images import find_photos, read
from segwright.refine import CRF, G4Seg, Refiner
from segwright.refine.pipeline import Row, parse_refiners, refine
from segwright.runs.sources import open_signed, signature
from segwright.types import Segmentation
from segwright.untrusted import decode, safe_name
from segwright.weights import Networks, load

RUN_FILE, LINES = "segwright-refine.json", "segwright-refine.jsonl"
# What a refiner's name means on masks that may be hard: constants best on coarsened real masks (docs/methods/g4seg.md), and G4Seg
# on softened outlines, else it would leave them alone (a mask 16 times too coarse is about that unsure of them).
REFINERS: dict[str, Refiner] = {"crf": CRF.of("cutler"), "g4seg": G4Seg(soften=0.03)}


@dataclass(frozen=True)
class RefinementSettings:
    """How masks from files are refined.

    Attributes:
        refiners: a row of refiners or of their names, in order, joined by commas: g4seg, crf, pamr (Table XI: G4Seg, then a dense
            CRF); a name means ``REFINERS``.
        trust: how sure label maps are of their pixels, 0.75 .. 1 (``segwright.files.coarse_masks.hard_scores``; ours: best of 0.7,
            0.9 and 0.99 on coarsened real masks).
    """

    refiners: Row = "g4seg,crf"
    trust: float = TRUST

    def __post_init__(self) -> None:
        _ = self.row
        if not 0.75 <= self.trust <= 1:
            raise InputError(f"trust must lie in 0.75..1, got {self.trust}")

    @property
    def row(self) -> tuple[Refiner, ...]:
        """The refiners themselves."""
        return parse_refiners(self.refiners, REFINERS)

    def identity(self, networks: Networks) -> dict[str, Any]:
        """All that a result depends on beside the files and the words."""
        used = any(refiner.kinds for refiner in self.row)
        where = {"device": networks.device.type, "dtype": str(networks.dtype).removeprefix("torch.")} if used else {}
        return {"refine": [r.identity(networks) for r in self.row], "trust": self.trust, **where, "versions": versions()}


@dataclass(frozen=True)
class Refined:
    """What became of one photo and its mask.

    Attributes:
        file: the refined mask; None if an error stopped it.
        segmentation: None if it was done before.
        error: what stopped it.
        changed: share of the pixels, 0..1, whose label is another one than in the coarse mask; None if it was not made now.
    """

    photo: Path
    file: Path | None = None
    segmentation: Segmentation | None = None
    error: SegwrightError | None = None
    changed: float | None = None


def refine_masks(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    masks: str | os.PathLike[str],
    out: str | os.PathLike[str],
    words: Mapping[int, str] | Sequence[str] | None = None,
    networks: Networks | None = None,
    *,
    settings: RefinementSettings | None = None,
) -> Iterator[Refined]:
    """Refine the coarse masks of photos; yields one ``Refined`` a photo, in order, as each is written.

    Writes NAME.png into ``out`` for each, a label map in the indices that came in, and a journal (``segwright-refine.json`` and
    ``.jsonl``) of the settings and of the files that each was made from: what is still the same is not made again.

    Args:
        photos: a photo, or folders of photos.
        masks: the photo's mask, or a folder with a mask of each photo's name (``read_coarse`` says which kinds).
        words: index -> word, or words for the indices from 1 on; only g4seg needs them.
        networks: for g4seg; the default preset's if None.

    Raises:
        InputError: no photo at all, one mask for several photos, g4seg without words, results that would replace the masks, or a
            folder begun with other settings.
        OutputError: ``out`` cannot be written, so no other mask could be either.
    """
    chosen = settings or RefinementSettings()
    table = words if isinstance(words, Mapping) or words is None else dict(enumerate(words, 1))
    found, masks, out = find_photos(photos), Path(masks), Path(out)
    if len(found) > 1 and not masks.is_dir():
        raise InputError(f"{len(found)} photos need a folder of masks, got {str(masks)!r}")
    needy = [refiner.name for refiner in chosen.row if refiner.needs_words]
    if table is None and needy:
        raise InputError(f"{needy[0]} must know what the indices are called; give words, for example 1=dog,2=sofa")
    if masks.is_dir() and out.resolve() == masks.resolve():
        raise InputError(f"the results would replace the masks in {str(masks)!r}; choose another folder for them")
    job = _Job(chosen, table, networks or load())
    root = Path(photos) if isinstance(photos, str | os.PathLike) and Path(photos).is_dir() else None
    return _each(found, masks, root, plan_names(found, out), _Log(out, job), job=job)


@dataclass(frozen=True)
class _Job:
    settings: RefinementSettings
    words: Mapping[int, str] | None
    networks: Networks

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All on which every result depends."""
        return dict(plain(self.settings.identity(self.networks) | {"words": self.words}))

    def key(self, photo: Path, mask: Path) -> list[Any]:
        """The files that a result is made from: another one, or a changed one, gives another key."""
        return [plain([file.name, signature(file)]) for file in (photo, mask)]

    def run(self, photo: Path, mask: Path) -> tuple[Segmentation, float, list[Any]]:
        """The result, the share of pixels that it changes, and the key of just the bytes that it was made from."""
        image, first = open_signed(photo, read)
        size = (image.shape[0], image.shape[1])
        coarse, second = open_signed(mask, lambda file: read_coarse(Path(file), size, self.words, self.settings.trust))
        key = [plain([file.name, known]) for file, known in ((photo, first), (mask, second))]
        scores = refine(image, coarse, self.settings.row, self.networks)
        notes = {"mask": str(mask), "refine": self.identity["refine"], "trust": self.settings.trust}
        labels = scores.argmax().cpu().numpy()
        changed = float((labels != coarse.argmax().cpu().numpy()).mean())
        return Segmentation(scores.words, labels, scores, notes), changed, key


@dataclass(frozen=True)
class Entry:
    """A line of the journal; ``photo`` is its whole path."""

    file: str
    made_from: list[Any]
    digest: str  # of the file
    photo: str

    def __post_init__(self) -> None:
        safe_name(self.file)


class _Log:
    """The journal: which file was made from what."""

    def __init__(self, folder: Path, job: _Job) -> None:
        self.folder = folder
        self._journal = Journal(Local(folder, "refinement"), job.identity, RUN_FILE, LINES)
        self._made: dict[str, Entry] = {}

    def __enter__(self) -> _Log:
        try:
            lines = decode_lines(self._journal.open(), partial(decode, kind=Entry), str(self.folder / LINES))
            self._made = {line.file: line for line in lines}
        except BaseException:
            self._journal.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.close()

    def has(self, file: Path, key: list[Any]) -> bool:
        """It was made from these files, and is as it was written."""
        made = self._made.get(self._name(file))
        return made is not None and made.made_from == key and self._journal.place.holds(made.file, made.digest)

    def keep(self, file: Path, key: list[Any], content: bytes, photo: Path) -> None:
        made = Entry(self._name(file), key, digest(content), plain(os.path.abspath(photo)))
        self._journal.add(vars(made), files={made.file: content})
        self._made[made.file] = made

    def _name(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.folder)).as_posix()


def _each(
    photos: list[Path], masks: Path, root: Path | None, stems: Mapping[Path, Path], log: _Log, *, job: _Job
) -> Iterator[Refined]:
    with log:
        for photo in photos:
            file = Path(plain(f"{stems[photo]}.png"))
            try:
                yield _one(photo, masks, root, file, log, job=job)
            except OutputError:
                raise
            except SegwrightError as error:
                yield Refined(photo, error=error)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                yield Refined(
                    photo, error=InputError(f"{photo} needs more memory than there is; make it smaller, or refine without g4seg")
                )


def _one(photo: Path, masks: Path, root: Path | None, file: Path, log: _Log, *, job: _Job) -> Refined:
    mask = find_mask(photo, masks, root)
    for needed in (photo, mask):
        if not needed.is_file():
            raise InputError(f"{str(needed)!r} cannot be opened: there is no such file")
    if file.resolve() == mask.resolve():
        raise InputError(f"the result would replace the mask {str(mask)!r}; choose another folder for it")
    if log.has(file, job.key(photo, mask)):
        return Refined(photo, file)
    done, changed, key = job.run(photo, mask)
    log.keep(file, key, encode_label_map(done.labels), photo)
    return Refined(photo, file, replace(done, notes=done.notes), changed=changed)

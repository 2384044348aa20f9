"""Photos and coarse masks in, sharper masks out; what is done already is passed over, and a bad file stops no other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from segwright.errors import InputError, OutputError, SegwrightError
from segwright.files.coarse_masks import TRUST, find_mask, read_coarse
from segwright.files.disk import Content, write_all
from segwright.files.masks import encode_label_map
from segwright.files.names import plan_names
from segwright.files.record import plain, versions
from segwright.images import find_photos, read
from segwright.models.controlnet import ControlNet
from segwright.refine import CRF_CONSTANTS, NEED_NETWORKS, G4SegSettings, crf, g4seg
from segwright.refine.pipeline import Refiner, parse_refiners, refine
from segwright.types import Segmentation
from segwright.weights import Networks, load

RUN_FILE = "segwright-refine.json"
HARD = G4SegSettings(soften=0.03)  # of the sides: a mask 16 times too coarse is about that unsure of its outlines


@dataclass(frozen=True)
class RefinementSettings:
    """How masks from files are refined.

    Attributes:
        refiners: in order, joined by commas: g4seg, crf, pamr.
        trust: how sure label maps are of their pixels, 0.75 .. 1 (``segwright.files.coarse_masks.hard_scores``).
        crf: its constants, of ``segwright.refine.CRF_CONSTANTS``; hard masks need others than soft scores (docs/methods/g4seg.md).
        g4seg: settings of that refiner; hard masks are softened at their outlines, else it would leave them alone.
    """

    refiners: str = "g4seg,crf"
    trust: float = TRUST
    crf: str = "cutler"
    g4seg: G4SegSettings = HARD

    def __post_init__(self) -> None:
        parse_refiners(self.refiners)
        if not 0.75 <= self.trust <= 1:
            raise InputError(f"trust must lie in 0.75..1, got {self.trust}")
        if self.crf not in CRF_CONSTANTS:
            raise InputError(f"crf must be one of {', '.join(CRF_CONSTANTS)}, got {self.crf!r}")


@dataclass(frozen=True)
class Refined:
    """What became of one photo and its mask.

    Attributes:
        file: the refined mask; None if an error stopped it.
        segmentation: None if it was done before.
        error: what stopped it.
    """

    photo: Path
    file: Path | None = None
    segmentation: Segmentation | None = None
    error: SegwrightError | None = None


def refine_masks(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    masks: str | os.PathLike[str],
    out: str | os.PathLike[str],
    words: Mapping[int, str] | Sequence[str] | None = None,
    networks: Networks | None = None,
    settings: RefinementSettings | None = None,
    controlnet: ControlNet | None = None,
) -> Iterator[Refined]:
    """Refine the coarse masks of photos; yields one ``Refined`` a photo, in order, as each is written.

    Writes NAME.png into ``out`` for each, a label map in the indices that came in, and the file ``segwright-refine.json`` that
    knows with which settings and from which files each was made: what is still the same is not made again.

    Args:
        photos: a photo, or folders of photos.
        masks: the photo's mask, or a folder with a mask of each photo's name (``read_coarse`` says which kinds).
        words: index -> word, or words for the indices from 1 on; only g4seg needs them.
        networks: for g4seg; the default preset's if None.

    Raises:
        InputError: no photo at all, one mask for several photos, g4seg without words, or results that would replace the masks.
        OutputError: ``out`` cannot be written, so no other mask could be either.
    """
    chosen = settings or RefinementSettings()
    table = words if isinstance(words, Mapping) or words is None else dict(enumerate(words, 1))
    found, masks, out = find_photos(photos), Path(masks), Path(out)
    if len(found) > 1 and not masks.is_dir():
        raise InputError(f"{len(found)} photos need a folder of masks, got {str(masks)!r}")
    if table is None and set(parse_refiners(chosen.refiners)) & set(NEED_NETWORKS):
        raise InputError("g4seg must know what the indices are called; give words, for example 1=dog,2=sofa")
    if masks.is_dir() and out.resolve() == masks.resolve():
        raise InputError(f"the results would replace the masks in {str(masks)!r}; choose another folder for them")
    nets = networks or load()
    own = {
        "crf": partial(crf, settings=chosen.crf),
        "g4seg": partial(g4seg, model=nets, settings=chosen.g4seg, controlnet=controlnet),
    }
    job = _Job(chosen, table, nets, own)
    root = Path(photos) if isinstance(photos, str | os.PathLike) and Path(photos).is_dir() else None
    return _each(found, masks, root, plan_names(found, out), _Log(out / RUN_FILE), job)


@dataclass(frozen=True)
class _Job:
    settings: RefinementSettings
    words: Mapping[int, str] | None
    networks: Networks
    refiners: Mapping[str, Refiner]

    def key(self, photo: Path, mask: Path) -> str:
        """What a result was made from and how, in short: another file or setting gives another key."""
        files = [(f.name, (s := f.stat()).st_size, s.st_mtime_ns) for f in (photo, mask)]
        extra = self.refiners["g4seg"].keywords["controlnet"] is not None  # type: ignore[attr-defined]
        content = [self.settings, self.words, self.networks.preset.name, str(self.networks.dtype), extra, files, versions()]
        return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()[:24]

    def run(self, photo: Path, mask: Path) -> Segmentation:
        image = read(photo)
        coarse = read_coarse(mask, (image.shape[0], image.shape[1]), self.words, self.settings.trust)
        scores = refine(image, coarse, self.settings.refiners, self.networks, self.refiners)
        notes = {"mask": str(mask), "settings": asdict(self.settings)}
        return Segmentation(scores.words, scores.argmax().cpu().numpy(), scores, notes)


class _Log:
    """The run file: result -> key, and the settings of the last run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            known = json.loads(path.read_text("utf8")).get("results", {})
        except (OSError, ValueError, AttributeError):  # none yet, or not ours: everything is made again
            known = {}
        self.results: dict[str, str] = known if isinstance(known, dict) else {}

    def has(self, file: Path, key: str) -> bool:
        return file.is_file() and self.results.get(self._name(file)) == key

    def content(self, file: Path, key: str, job: _Job) -> Content:
        self.results[self._name(file)] = key
        content = {"settings": job.settings, "words": job.words, "preset": job.networks.preset.name, "versions": versions()}
        return (json.dumps(plain(content | {"results": self.results}), indent=1) + "\n").encode()

    def _name(self, file: Path) -> str:
        return os.path.relpath(file, self.path.parent)


def _each(
    photos: list[Path], masks: Path, root: Path | None, stems: Mapping[Path, Path], log: _Log, job: _Job
) -> Iterator[Refined]:
    for photo in photos:
        file = Path(f"{stems[photo]}.png")
        try:
            yield _one(photo, masks, root, file, log, job)
        except OutputError:
            raise
        except SegwrightError as error:
            yield Refined(photo, error=error)
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            yield Refined(
                photo, error=InputError(f"{photo} needs more memory than there is; make it smaller, or refine without g4seg")
            )


def _one(photo: Path, masks: Path, root: Path | None, file: Path, log: _Log, job: _Job) -> Refined:
    mask = find_mask(photo, masks, root)
    for needed in (photo, mask):
        if not needed.is_file():
            raise InputError(f"{str(needed)!r} cannot be opened: there is no such file")
    if file.resolve() == mask.resolve():
        raise InputError(f"the result would replace the mask {str(mask)!r}; choose another folder for it")
    key = job.key(photo, mask)
    if log.has(file, key):
        return Refined(photo, file)
    done = job.run(photo, mask)
    write_all({file: encode_label_map(done.labels), log.path: log.content(file, key, job)})
    return Refined(photo, file, replace(done, notes=done.notes))

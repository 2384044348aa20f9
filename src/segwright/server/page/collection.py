"""Several photos at once: a small run behind the page, with the overview, masks and exports of ``segwright segment``."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
import time
import zipfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image as Pillow

from segwright.errors import InputError, OutputError, SegwrightError
from segwright.files.disk import atomic_write
from segwright.files.names import ENDINGS
from segwright.images import SUFFIXES, natural, read
from segwright.methods.base import Method, MethodSpec
from segwright.runs.exports import FORMATS, export
from segwright.runs.overview import overview_page
from segwright.runs.reading import open_run
from segwright.runs.segment import Outcome, segment
from segwright.server.page.uploads import Limits, check_pixels, open_upload
from segwright.server.page.work import Job, Stopped
from segwright.server.page.workspace import Request, Workspace
from segwright.words.vocabulary import parse_words

PHOTOS = 24  # of one collection
MULTIPLE = 10  # times the limits of one upload, in bytes and in pixels, is what a collection may have
KEPT = 8  # collections on the server; the oldest are removed
NAME = "collection-"  # of their folders within a session's
OFFERED = tuple(name for name in FORMATS if name != "parquet")  # parquet would name the server's own folders
SHOWN = 160  # pixels of a small picture
TEXTS = (".json", ".txt", ".xml", ".yaml")


@dataclass(frozen=True)
class Collected:
    """A run of several photos, as far as it came.

    Attributes:
        folder: holds ``photos`` and ``run``, and what is made of them.
        words: as given to the method.
        spec: the method and its settings, as chosen, those of ``texts`` left out.
        texts: any other settings, as ``--set`` takes them.
        done: photos that have masks.
        of: photos that were asked for.
        bad: why each of the others has none.
        seconds: that it took.
        stopped: it was stopped before its end.
    """

    folder: Path
    words: tuple[str, ...] | None
    spec: MethodSpec
    texts: tuple[str, ...]
    done: int
    of: int
    bad: tuple[str, ...]
    seconds: float
    stopped: bool = False

    @property
    def photo(self) -> str:
        """What the photos are called in the lines that make it again."""
        return "photos"

    @property
    def run(self) -> Path:
        """What ``segwright segment`` would have written."""
        return self.folder / "run"

    def html(self) -> str:
        """The overview, one page with its pictures in it."""
        return overview_page(open_run(self.run), f"{self.done} of {self.of} photos", self.run / "overview.html", embed=True)


def collect(workspace: Workspace, photos: Sequence[Path], place: Path, request: Request, job: Job | None = None) -> Collected:
    """Segment several uploaded photos into a new folder; a bad photo among good ones is named and left out.

    Args:
        photos: uploads.
        place: the session's own folder; its earlier collections are removed.

    Raises:
        InputError: no photos, too many, too much of them together, or none that can be used.
        SegwrightError: as the method.
        Stopped: the job was stopped before the first photo was done.
    """
    job, began = job or Job(), time.perf_counter()
    words = parse_words(request.words) if request.words.strip() else None
    spec = workspace.spec(request)
    folder = new_folder(place)
    job.report("Reading the photos")
    bad = bring(photos, folder / "photos", workspace.limits)
    names = sorted((folder / "photos").iterdir(), key=natural)
    if not names:
        raise InputError("none of the photos can be used: " + "; ".join(bad))
    job.report("Opening the networks")
    method = workspace.method(spec.with_texts(request.texts))
    done, shown, stopped = 0, [], False
    try:
        with closing(_outcomes(names, method, folder / "run", words)) as outcomes:
            for outcome in outcomes:
                name = Path(outcome.photo).name
                if outcome.error is None:
                    done += 1
                    shown.append(_small(Path(outcome.files[1]), name))
                else:
                    bad.append(str(outcome.error).replace(f"{folder / 'photos'}/", ""))
                growing = f'<div class="sw-growing sw-wide">{"".join(shown)}</div>'
                job.report(f"{len(shown)} of {len(names)} photos, the last one {name}", len(shown) / len(names), growing)
    except Stopped:
        stopped = True
        if not done:
            raise
    if not done:
        raise InputError("none of the photos could be done: " + "; ".join(bad))
    return Collected(folder, words, spec, request.texts, done, len(photos), tuple(bad), time.perf_counter() - began, stopped)


def _outcomes(photos: Sequence[Path], method: Method, run: Path, words: Sequence[str] | None) -> Generator[Outcome, None, None]:
    yield from segment(photos, method, run, words, batch=1)


def new_folder(place: Path) -> Path:
    """An empty folder in a session's own; its earlier ones are removed, and those of others beyond the ``KEPT`` latest."""
    for earlier in place.glob(f"{NAME}*"):
        shutil.rmtree(earlier, ignore_errors=True)
    others = sorted(place.parent.glob(f"*/{NAME}*"), key=lambda path: path.stat().st_mtime_ns)
    for oldest in others[: max(0, len(others) - KEPT + 1)]:
        shutil.rmtree(oldest, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=NAME, dir=place))
    (folder / "photos").mkdir()
    return folder


def bring(photos: Sequence[Path], folder: Path, limits: Limits) -> list[str]:
    """Copy uploads that are photos into a folder, under the names that the person knows; why each of the others is none.

    Raises:
        InputError: there are none, or too many of them, or too much in bytes or pixels.
    """
    if not photos:
        raise InputError("there are no photos yet; drop some on the page")
    if len(photos) > PHOTOS:
        raise InputError(f"{len(photos)} photos are too many for this page, which takes {PHOTOS}; segwright segment takes more")
    bad: list[str] = []
    size, pixels = 0, 0
    for photo in photos:
        try:
            content, here = _checked(photo, limits)
        except SegwrightError as error:
            bad.append(str(error))
            continue
        size, pixels = size + len(content), pixels + here
        if size > MULTIPLE * limits.megabytes * 1e6 or pixels > MULTIPLE * limits.megapixels * 1e6:
            most = f"{MULTIPLE * limits.megabytes:g} MB and {MULTIPLE * limits.megapixels:g} megapixels"
            raise InputError(f"these photos are too large together; this page takes {most} at once: choose fewer of them")
        atomic_write(_free(folder, photo), content)
    return bad


def _checked(photo: Path, limits: Limits) -> tuple[bytes, int]:
    """A photo's bytes, and its pixels.

    Raises:
        InputError: too large, or not a photo, or not called as one.
    """
    file = open_upload(photo, limits)
    width, height = check_pixels(file, limits)
    if photo.suffix.lower() not in SUFFIXES:
        raise InputError(f"{photo.name!r} is not called as a photo; its name must end in {', '.join(SUFFIXES[:4])} or the like")
    read(file)
    return file.getvalue(), width * height


def _free(folder: Path, photo: Path) -> Path:
    """A name that is not taken: a.jpg, a-2.jpg, a-3.jpg ..."""
    taken = {path.stem.casefold() for path in folder.iterdir()}
    stem, number = photo.stem, 1
    while stem.casefold() in taken:
        number += 1
        stem = f"{photo.stem}-{number}"
    return folder / f"{stem}{photo.suffix}"


def _small(overlay: Path, name: str) -> str:
    with Pillow.open(overlay) as picture:
        small = picture.convert("RGB")
    small.thumbnail((SHOWN, SHOWN), Pillow.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def packed(folder: Path, names: Iterable[str], above: Path, target: Path) -> Path:
    """A ZIP of some files in a folder. The server's own paths are left out of those that are texts.

    Args:
        above: what is cut off from paths that files name.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        part = target.with_name(f"{target.name}.part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                content = (folder / name).read_bytes()
                archive.writestr(name, content.replace(f"{above}/".encode(), b"") if name.endswith(TEXTS) else content)
        return part.replace(target)
    except OSError as error:
        raise OutputError(f"{target.name!r} cannot be written ({error.strerror or error}); free some space") from error


def write_run(made: Collected) -> list[Path]:
    """The overview and the masks, to take away.

    Raises:
        OutputError: they cannot be written.
    """
    names = [f"{line.name}{ending}" for line in open_run(made.run).done for ending in ENDINGS]
    return [
        atomic_write(made.folder / "overview.html", made.html().encode()),
        packed(made.run, names, made.folder, made.folder / "masks.zip"),
    ]


def write_export(made: Collected, format: str) -> Path:
    """The masks in another tool's format with the photos beside them, as ``segwright export --copy-photos``, in a ZIP.

    Raises:
        InputError: the collection is no longer there, or there is no such format.
        OutputError: it cannot be written.
    """
    if not made.folder.is_dir():
        raise InputError("these photos are no longer on the server, which keeps the latest collections; segment them again")
    if format not in OFFERED:
        raise InputError(f"the format must be one of {', '.join(OFFERED)}")
    target = made.folder / f"export-{format}"
    shutil.rmtree(target, ignore_errors=True)
    names = [Path(file).relative_to(target).as_posix() for file in export(made.run, format, target, copy_photos=True)]
    return packed(target, names, made.folder, made.folder / f"{format}.zip")

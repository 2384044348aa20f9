"""Photos in, files out: the main job, resumable, with a bad photo among good ones reported and passed over."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from segwright.errors import InputError, SegwrightError
from segwright.files.names import ENDINGS
from segwright.files.places import Local, Place, find_place
from segwright.methods.base import Loaded, MethodSpec, as_source
from segwright.runs.sources import Photo, find, key
from segwright.runs.store import Line, Store
from segwright.runs.work import Made, make
from segwright.runs.workers import check_workers, parallel, serial
from segwright.types import Segmentation
from segwright.words.synonyms import spelled, split_names
from segwright.words.vocabulary import check_words

FORMAT = 4  # of run.json and manifest.jsonl
BATCH = 4  # photos through the networks at once
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: its files, or the error that stopped it.

    Attributes:
        photo: as it was given; a URL is a str.
        segmentation: None if it was made in another process or an earlier run.
        files: label map, overlay and record.
        error: what stopped it.
        facts: ``size`` [width, height], ``segments`` as in NAME.json, ``caption``; empty if it failed or was done earlier.
        earlier: it was done, or failed, in an earlier run.
    """

    photo: Photo
    segmentation: Segmentation | None = None
    files: tuple[Path | str, ...] = ()
    error: SegwrightError | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    earlier: bool = False


def segment(
    photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    method: Any,
    out: str | os.PathLike[str],
    words: Sequence[str] | None = None,
    batch: int = BATCH,
    *,
    workers: int = 1,
    engine: str = "local",
    ray_address: str | None = None,
    restart: bool = False,
    retry: bool = False,
) -> Iterator[Outcome]:
    """Segment photos; yields one Outcome a photo as it is written, those of an earlier run first. Resumes.

    Writes NAME.png (label map), NAME.overlay.png and NAME.json into ``out`` for each, with run.json and manifest.jsonl
    (``segwright.runs.store``). A photo's mask is the same whatever the batch, order, workers and engine (docs/collections.md).

    Args:
        photos: files, folders, lists of paths (.txt), patterns and URLs; see ``segwright.runs.sources.find``.
        method: a ``MethodSpec``, a loaded method, or a function of several photos and words -> their segmentations.
        out: a folder or URL. If it holds a run of other settings, it is refused.
        words: the vocabulary, or None for open vocabulary.
        batch: photos through the networks at once.
        workers: processes (CPU only) or, with ``engine`` "ray", actors; more than one, or Ray, need a ``MethodSpec``.
        engine: "local" or "ray".
        ray_address: of a Ray cluster; None: this machine.
        restart: throw away the run that is in ``out``.
        retry: try again what failed in an earlier run.

    Raises:
        InputError: there is no photo at all, settings that cannot be used, or another run in ``out``.
        WeightsError: networks that cannot be loaded.
        OutputError: ``out`` cannot be written, so no other photo could be either.
    """
    source = as_source(method)
    _check(source, batch, workers, engine)
    words = None if words is None else check_words(words)
    found = {key(photo): photo for photo in find(photos)}
    place = find_place(out)
    source.fetch(words is not None)
    if words is not None:
        source.prepare(split_names(words)[0])  # first, since what is made for them is part of the identity
    known = identity(source, words, engine)
    with Store(place, known, restart, retry) as store:
        for name in (name for name in found if name in store.lines):
            yield _earlier(found[name], store.lines[name], place)
        todo = [photo for name, photo in found.items() if name not in store.lines]
        names = store.plan(list(found.values()), place.folder if isinstance(place, Local) else Path("run"))
        with closing(_work(source, todo, words, batch, workers, engine=engine, address=ray_address, facts=_facts(known))) as made:
            for one in made:
                yield _kept(one, names[key(one.photo)], store)


def identity(method: Any, words: Sequence[str] | None, engine: str = "local") -> dict[str, Any]:
    """What run.json says: all on which a mask depends. Places, batch, workers and engine are not among it."""
    known = as_source(method).identity(words is not None, elsewhere=engine == "ray")
    made = as_source(method).made_for(None if words is None else split_names(words)[0])
    given = {"words": None if words is None else spelled(words), "seed": known["settings"].get("seed")}
    return {"format": FORMAT, **known, **given, **({"made": made} if made else {})}


def _facts(known: Mapping[str, Any]) -> dict[str, Any]:
    """What NAME.json says where a method's own notes do not: of what is known, by which method, networks and settings."""
    return {name: value for name in ("method", "preset", "settings", "seed") if (value := known[name]) not in (None, {})}


def _check(source: MethodSpec | Loaded, batch: int, workers: int, engine: str) -> None:
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if batch < 1:
        raise InputError(f"batch must be 1 or more, got {batch}")
    if engine == "local":
        check_workers(source, workers)
    elif workers < 1:
        raise InputError(f"workers must be 1 or more, got {workers}")
    elif not source.portable:
        raise InputError("the engine ray needs a MethodSpec, so that each actor can load its own networks; got a loaded method")


def _work(
    source: MethodSpec | Loaded,
    todo: Sequence[Photo],
    words: Sequence[str] | None,
    batch: int,
    workers: int,
    *,
    engine: str,
    address: str | None,
    facts: Mapping[str, Any],
) -> Generator[Made, None, None]:
    if not todo:
        return
    several = engine == "ray" or (workers > 1 and len(todo) > 1)
    if engine == "ray":
        from segwright.runs.on_ray import work

        gpus = 1 if source.identity(words is not None, elsewhere=True)["device"] == "cuda" else 0
        yield from work(source, todo, words, batch, workers, address=address, gpus=gpus, facts=facts)
    elif several:
        yield from parallel(source, todo, partial(make, words=words, batch=batch, facts=facts), workers)
    else:
        yield from serial(source, todo, partial(make, words=words, batch=batch, keep=True, facts=facts))


def _kept(made: Made, name: str, store: Store) -> Outcome:
    photo, place = key(made.photo), store.place
    seconds = round(made.seconds, 4)
    if made.reason is not None:
        store.add(Line(photo, "failed", reason=made.reason, seconds=seconds, signature=made.signature), {})
        return Outcome(made.photo, error=InputError(made.reason))
    found, size = tuple(s["word"] for s in made.facts["segments"]), tuple(made.facts["size"])
    store.add(Line(photo, "done", name, found, seconds=seconds, size=size, signature=made.signature), made.files)
    return Outcome(made.photo, made.segmentation, _files(name, place), facts=made.facts)


def _earlier(photo: Photo, line: Line, place: Place) -> Outcome:
    if line.name is None:
        return Outcome(photo, error=InputError(line.reason or "it failed"), earlier=True)
    return Outcome(photo, files=_files(line.name, place), earlier=True)


def _files(name: str, place: Place) -> tuple[Path | str, ...]:
    paths = [place.path(f"{name}{ending}") for ending in ENDINGS]
    return tuple(Path(path) for path in paths) if isinstance(place, Local) else tuple(paths)

"""Repositories of the hub in its cache on this machine: what is there, what is lacking, and fetching it; used by
``segwright.weights`` and ``segwright.fetching``.

The cache is the hub's own (``HF_HOME``), in its layout, so that files are shared with other programs. Files are moved by
``segwright.models.download``, because the hub's client downloads an interrupted file again from its first byte.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segwright.errors import WeightsError
from segwright.models.repositories import (
    WAYS_OUT,
    File,
    Part,
    Plan,
    Remote,
    cache,
    converted,
    repository,
    snapshot,
)

SPARE = 50_000_000  # bytes that a fetch leaves free on the disk
# A tokenizer needs one of these rows; a repository need not have what is not among them.
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))
OPTIONAL = ("special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")
WEIGHTS = (".safetensors", ".bin")


def print_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Fetching:
    """How parts are fetched.

    Attributes:
        half: take half-precision weights where there are any.
        local_only: never ask the network.
        verify: compare what is there already with its checksum, and fetch again what differs.
        notify: called with a line of text for each thing that is fetched: what, and what from.
    """

    half: bool = False
    local_only: bool = False
    verify: bool = False
    notify: Callable[[str], None] = print_to_stderr


def fetch(parts: Part | Sequence[Part], how: Fetching) -> list[Path]:
    """The folders of parts, from the cache or else from the hub: sizes and free space first, then one progress bar for all.

    Raises:
        WeightsError: not in the cache, and the network is away, refuses or is not to be asked; a full disk; a damaged file.
    """
    from segwright.models.pickles import convert

    wanted = [parts] if isinstance(parts, Part) else list(dict.fromkeys(parts))
    if how.verify:
        for part in wanted:
            _drop_damaged(part, how)
    lacking = [part for part in wanted if find(part, how.half) is None]
    if lacking and (how.local_only or is_offline()):
        raise WeightsError(_not_here(lacking[0], how))
    plans = {part.repo: _planned(part, how) for part in lacking}
    if plans:
        _transfer(list(plans.values()), how)
        for plan in plans.values():
            if plan.convert:
                fresh = any(file.name == plan.convert for file in plan.files)
                convert(snapshot(plan.part, plan.commit) / plan.convert, converted(plan.part), plan.part, keep=not fresh)
    folders = []
    for part in wanted:
        used = plans[part.repo].part if part.repo in plans else part
        folder = find(used, how.half)
        if folder is None:
            raise WeightsError(f"{used.repo} was fetched and is not complete; {what_lacks(used, how.half)}")
        folders.append(folder)
    return folders


def cached(part: Part, half: bool = False) -> Path:
    """The folder of the files on this machine; nothing is fetched.

    Raises:
        WeightsError: they are not all there.
    """
    found = find(part, half)
    if found is None:
        raise WeightsError(f"{part.repo} has not been fetched yet; its first use does that, about {human(part.size)}")
    return found


def find(part: Part, half: bool = False) -> Path | None:
    """The folder on this machine that holds all of a part's files, or None.

    Weights in full precision serve for half precision too. Of a converted part any snapshot serves: its pinned commit, else
    that of a reference in ``offers``, else the first by name; then what was converted here; then ``instead``.
    """
    names = [part.revision, *(_commit_of(part, reference) for reference in (*part.offers, "main") if part.converted)]
    places = [snapshot(part, name) for name in names if name]
    if part.converted:
        root = repository(part) / "snapshots"
        places += [*(sorted(root.iterdir()) if root.is_dir() else ()), converted(part)]
    for precision in (False, True) if half else (False,):
        for place in places:
            if not _lacking(part.wanted(precision), place):
                return place
    return find(part.instead, half) if part.instead is not None else None


def source(folder: Path) -> str:
    """ "repository@commit" of a folder that ``fetch``, ``find`` or ``cached`` gave."""
    return f"{folder.parent.parent.name.removeprefix('models--').replace('--', '/')}@{folder.name}"


def what_lacks(part: Part, half: bool = False) -> str:
    """A sentence on the first file that the cache lacks where it holds others of the part; empty if it holds none."""
    place = snapshot(part, part.revision)
    lacking = _lacking(part.wanted(half), place)
    some = any((place / file.name).exists() for file in part.wanted(half))
    return f"its cache {place} holds other files of it, but lacks {lacking[0]}" if some and lacking else ""


def is_offline() -> bool:
    """``HF_HUB_OFFLINE`` forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def human(size: float) -> str:
    """ "4.3 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def room(folder: Path) -> int:
    """Free bytes on the disk that holds a folder, which need not exist yet."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _lacking(files: Iterable[File], place: Path) -> list[str]:
    """Names of the files that are not in a folder. A tokenizer's folder needs one row of ``VOCABULARIES``."""
    names = [file.name for file in files]
    lacking = [name for name in names if name.rpartition("/")[2] not in OPTIONAL and not (place / name).is_file()]
    for folder in {name.rpartition("/")[0] for name in names if name.endswith(("vocab.json", "vocab.txt"))}:
        if not any(all((place / folder / name).is_file() for name in row) for row in VOCABULARIES):
            lacking.append(f"{folder}/vocabulary".lstrip("/"))
    return lacking


def _commit_of(part: Part, reference: str) -> str:
    path = repository(part) / "refs" / reference
    return path.read_text("utf8").strip() if path.is_file() else ""


def _not_here(part: Part, how: Fetching) -> str:
    lacks = what_lacks(part, how.half)
    why = "HF_HUB_OFFLINE forbids the network" if is_offline() and not how.local_only else "the network is not to be asked"
    return f"{part.repo} is not on this machine{f' ({lacks})' if lacks else ''} and {why}; {WAYS_OUT}"


def _drop_damaged(part: Part, how: Fetching) -> None:
    """Remove cached files whose contents differ from the checksum that is their name."""
    from segwright.models.download import is_whole

    place = find(part, how.half)
    for file in place.rglob("*") if place is not None else ():
        etag = file.resolve().name
        if file.is_symlink() and file.is_file() and not is_whole(file, etag):
            if how.local_only or is_offline():
                raise WeightsError(f"{file} is damaged: its contents do not have the checksum {etag}; fetch it with network")
            how.notify(f"{file} is damaged and is fetched again")
            file.resolve().unlink()
            file.unlink()


def _planned(part: Part, how: Fetching) -> Plan:
    """From where the files of a part can be had; the first source that has them all."""
    from segwright.models import listing

    refused = []
    for option in _options(part):
        try:
            listed = listing.files(part.repo, option or part.revision)
        except listing.NotThereError as error:
            refused.append(str(error))
            continue
        plan = _fitting(part, listed, option, how.half)
        if plan is not None:
            return plan
    plan = _from_pickle(part)
    if plan is not None:
        how.notify(
            f"{part.repo} offers no safetensors; its pickle, pinned by checksum, is converted once, without running its code"
        )
        return plan
    if part.instead is not None:
        how.notify(f"{part.repo} offers no safetensors; {part.instead.repo} is used in its place")
        return _planned(part.instead, how) if find(part.instead, how.half) is None else Plan(part.instead, part.instead.revision)
    raise WeightsError(
        f"{part.repo} offers no safetensors weights, and segwright loads no pickles"
        f"{f' ({refused[0]})' if refused else ''}; {WAYS_OUT}"
    )


def _options(part: Part) -> Iterator[str]:
    """References to look at, in this order; "" is the pinned revision. The pull requests are asked for only if need be."""
    from segwright.models import listing

    yield ""
    if part.converted:
        yield from part.offers
        yield from (reference for reference in listing.offered(part.repo) if reference not in part.offers)
        if part.revision != "main":
            yield "main"


def _fitting(part: Part, listed: tuple[str, dict[str, Remote]], reference: str, half: bool) -> Plan | None:
    """The plan for a listed revision, in half precision if it has that; None if weights are not there."""
    commit, there = listed
    for precision in (True, False) if half and part.half else (False,):
        files = part.wanted(precision)
        if all(_is_listed(file, there) for file in files if file.name.endswith(WEIGHTS)):
            place = snapshot(part, commit)
            lacking = tuple(_pinned(f, there) for f in files if f.name in there and not (place / f.name).is_file())
            known = "" if commit in (reference, part.revision) else reference or part.revision
            return Plan(part, commit, known, lacking)
    return None


def _is_listed(file: File, there: Mapping[str, Remote]) -> bool:
    """With the checksum that is pinned, if one is, and if the hub (or a mirror) lists any."""
    return file.name in there and (not file.sha256 or there[file.name].etag in ("", file.sha256))


def _pinned(file: File, there: Mapping[str, Remote]) -> Remote:
    return replace(there[file.name], etag=file.sha256) if file.sha256 else there[file.name]


def _from_pickle(part: Part) -> Plan | None:
    from segwright.models import listing

    if part.pickle is None:
        return None
    try:
        commit, there = listing.files(part.repo, part.revision)
    except listing.NotThereError:
        return None
    if part.pickle.name not in there:
        return None
    files = (*(f for f in part.files if not f.name.endswith(WEIGHTS)), part.pickle)
    place = snapshot(part, commit)
    lacking = tuple(_pinned(f, there) for f in files if f.name in there and not (place / f.name).is_file())
    return Plan(part, commit, "", lacking, part.pickle.name)


def _transfer(plans: Sequence[Plan], how: Fetching) -> None:
    """Say what comes, see that there is room, and move it."""
    from segwright.models.download import Bar, move

    total, free = sum(plan.size for plan in plans), room(cache())
    for plan in plans:
        how.notify(f"Fetching {plan.part.repo}, {human(plan.size)}, once, from the hub ({plan.part.licence})")
    how.notify(f"{human(total)} in all to {cache()} (HF_HOME), where {human(free)} are free")
    if total + SPARE > free:
        raise WeightsError(
            f"{human(total)} are to be fetched to {cache()}, where {human(free)} are free; make room, or set HF_HOME"
        )
    with Bar(total) as bar:
        for plan in plans:
            for file in plan.files:
                move(plan, file, bar)

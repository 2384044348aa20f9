"""Which networks a method needs, how large they are, and getting them beforehand: ``segwright fetch`` and ``segwright presets``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segwright.errors import InputError, OutputError, WeightsError
from segwright.methods import DEFAULT, find_method, list_methods
from segwright.models import hub
from segwright.models.hub import human, print_to_stderr
from segwright.models.repositories import Part, reason
from segwright.presets import MADE, PRESETS, Preset, default_preset, find_preset, preset_folder
from segwright.refine import REFINERS
from segwright.weights import Networks, load


def targets() -> tuple[str, ...]:
    """What can be fetched for: every method, and the refiners that run on networks."""
    return (*list_methods(), *(name for name, refiner in REFINERS.items() if refiner.kinds))


def needs(target: str, preset: Preset, settings: Mapping[str, Any] | None = None, words: bool = False) -> tuple[str, ...]:
    """The kinds of networks that a method or a refiner will ask for.

    Args:
        target: one of ``targets``.
        settings: those that differ from the method's own.
        words: words are given.

    Raises:
        InputError: no such method or refiner, or a setting that the method does not have.
    """
    if target in REFINERS:
        return REFINERS[target].kinds
    method = find_method(target)
    return method.opens(preset, method.checked(settings or {}), words)


def prefetch(
    method: str,
    preset: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    settings: Mapping[str, Any] | None = None,
    words: bool = False,
    *,
    local_only: bool = False,
    notify: Callable[[str], None] = print_to_stderr,
    single: Mapping[str, Any] | None = None,
) -> None:
    """Fetch all that a method will ask for, before any of its work is done; nothing to do for folders.

    What a method of another package asks for is fetched when it is first used.

    Args:
        single: networks in place of the preset's, as ``segwright.load`` takes them.

    Raises:
        WeightsError: it cannot be had, or a folder lacks it.
    """
    networks = _networks(method, preset, dtype, local_only=local_only, notify=notify, **(single or {}))
    networks.prepare(needs(method, networks.preset, settings, words))


def _networks(target: str, preset: str | os.PathLike[str] | None, dtype: str, **how: Any) -> Networks:
    """As the method opens them; a refiner takes a preset's own."""
    return (load if target in REFINERS else find_method(target).open_networks)(preset, "cpu", dtype, **how)


def fetch(
    preset: str | os.PathLike[str] | None = None,
    methods: Sequence[str] | None = None,
    to: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    notify: Callable[[str], None] = print_to_stderr,
) -> Path:
    """Fetch and verify a preset's networks, and make a folder of them that works anywhere without network.

    Args:
        methods: of ``targets``; None: the default method's. "all" is every one.
        to: the folder to make (``--preset FOLDER``); None: the hub's cache keeps them, for its own name.
        dtype: "bfloat16" and "float16" take half-precision weights where there are any.

    Returns:
        the folder of the preset, or of its diffusion model in the cache.

    Raises:
        InputError: unknown method, or a preset that needs no fetching.
        WeightsError: something cannot be had.
        OutputError: the folder cannot be made.
    """
    chosen = (DEFAULT,) if methods is None else targets() if "all" in methods else tuple(methods)
    if unknown := [name for name in chosen if name not in targets()]:
        raise InputError(f"what to fetch for must be one of {', '.join(targets())}, got {unknown[0]!r}")
    found = find_preset(default_preset() if preset is None else preset)
    if not found.parts:
        raise InputError(f"preset {found.name!r} lies on this machine already; nothing is to be fetched")
    wanted = {part.repo: part for method in chosen for part in _parts(method, found, dtype)}
    half = dtype != "float32"
    folders = hub.fetch(list(wanted.values()), hub.Fetching(half, verify=True, notify=notify))
    if to is None:
        return folders[0]
    return _make_folder(found, chosen, dict(zip(wanted, folders, strict=True)), Path(to).expanduser(), dtype)


def _parts(method: str, preset: Preset, dtype: str) -> list[Part]:
    networks = _networks(method, preset.name, dtype)
    names = needs(method, preset)
    return [part for name in names if (part := networks.part(name)) is not None]


def size(method: str, preset: Preset, half: bool = False) -> int:
    """Bytes of all that a method needs of a preset; 0 for folders."""
    return sum(file.size for part in _parts(method, preset, "float32") for file in part.wanted(half))


def _make_folder(preset: Preset, methods: Sequence[str], folders: Mapping[str, Path], to: Path, dtype: str) -> Path:
    """Copy the networks into a folder in the layout of preset mini; under a temporary name until it is whole."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise OutputError(f"{str(to)!r} exists already; name a folder that does not, or remove it")
    placed = {name: part for method in methods for name, part in _placed(method, preset, dtype).items()}
    if len({part.repo for method in methods for name, part in _placed(method, preset, dtype).items() if name == "clip"}) > 1:
        raise InputError("these methods need two different CLIPs, and a folder holds one; fetch them into two folders")
    bytes_ = sum(p.stat().st_size for name, part in placed.items() for p in _own(name, folders[part.repo]))
    if bytes_ + hub.SPARE > hub.room(to.absolute().parent):
        raise OutputError(
            f"{human(bytes_)} are to be written to {str(to)!r}, where {human(hub.room(to.absolute().parent))} are free"
        )
    half = to.with_name(f"{to.name}.incomplete")
    shutil.rmtree(half, ignore_errors=True)
    try:
        for name, part in placed.items():
            for path in _own(name, folders[part.repo]):
                target = half / ("" if name == "diffusion" else name) / _plain(path.relative_to(folders[part.repo]))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        about = {"preset": preset.name, "licence": "; ".join(f"{part.repo}: {part.licence}" for part in placed.values())}
        sources = {name: hub.source(folders[part.repo]) for name, part in placed.items()}
        (half / MADE).write_text(json.dumps(about | {"methods": list(methods), "parts": sources}, indent=1) + "\n", "utf8")
        if to.is_dir():
            to.rmdir()
        os.replace(half, to)
    except OSError as error:
        raise OutputError(f"{str(to)!r} cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return to


def _placed(method: str, preset: Preset, dtype: str) -> dict[str, Part]:
    networks = _networks(method, preset.name, dtype)
    return {name: part for name in needs(method, preset) if (part := networks.part(name)) is not None}


def _own(name: str, folder: Path) -> list[Path]:
    """The files of a network's folder: no pickles of other programs that share the cache, and one precision of weights."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix in (".json", ".txt", ".safetensors")]
    return [p for p in files if ".fp16." not in p.name or not p.with_name(p.name.replace(".fp16.", ".")).exists()]


def _plain(path: Path) -> Path:
    """Weights in half precision under the names of full ones, which is what a folder's readers look for."""
    return path.with_name(path.name.replace(".fp16.", "."))


def describe() -> str:
    """All presets for people: what each method needs in bytes, then parts with licences, and where each lies."""
    lines = []
    for preset in PRESETS.values():
        if not preset.parts:
            folder = preset_folder(preset)
            there = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            lines.append(
                f"{preset.name}: ships with segwright, {human(there)}, {preset.licence}, {preset.image_size} px\n  {folder}"
            )
            continue
        by_method = ", ".join(f"{method} {human(size(method, preset))}" for method in targets())
        lines.append(f"{preset.name}: {preset.image_size} px; to fetch for {by_method}")
        if preset.parts["diffusion"].half:
            lines.append(f"  {DEFAULT} with --dtype float16 or bfloat16: {human(size(DEFAULT, preset, True))}")
        for kind, part in preset.parts.items():
            try:
                where = str(hub.cached(part))
            except WeightsError:
                where = "not fetched yet"
            lines.append(f"  {kind}: {part.repo} ({human(part.size)}, {part.licence}): {where}")
    lines.append("any folder in the layout of mini: as that folder's owner licenses it")
    return "\n".join(lines)

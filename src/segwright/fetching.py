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
from segwright.presets import CHOICES, FEW_STEPS, MADE, PRESETS, Preset, default_preset, find_preset, preset_folder
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
        return preset.companions(REFINERS[target].kinds)
    method = find_method(target)
    return method.opens(preset, method.checked(settings or {}), words)


def prefetch(
    methods: Sequence[str],
    preset: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    *,
    words: bool = False,
    local_only: bool = False,
    notify: Callable[[str], None] = print_to_stderr,
    single: Mapping[str, Any] | None = None,
) -> None:
    """Fetch all that methods and refiners with their own settings will ask for, with one total; nothing to do for folders.

    What a method of another package asks for is fetched when it is first used.

    Args:
        methods: of ``targets``.
        words: words are given.
        single: networks in place of the preset's, as ``segwright.load`` takes them.

    Raises:
        InputError: unknown method.
        WeightsError: it cannot be had.
    """
    parts: list[Part] = []
    for name in targets() if "all" in methods else _known(methods):
        networks = _networks(name, preset, dtype, **(single or {}))
        parts += networks.parts(needs(name, networks.preset, words=words))
    if parts:
        hub.fetch(parts, hub.Fetching(dtype != "float32", local_only, notify=notify))


def _known(methods: Sequence[str]) -> Sequence[str]:
    if unknown := [name for name in methods if name not in targets()]:
        raise InputError(f"what to fetch for must be one of {', '.join(targets())}, got {unknown[0]!r}")
    return methods


def _networks(target: str, preset: str | os.PathLike[str] | None, dtype: str, **how: Any) -> Networks:
    """As the method opens them; a refiner takes a preset's own."""
    return (load if target in REFINERS else find_method(target).open_networks)(preset, "cpu", dtype, **how)


def fetch(
    preset: str | os.PathLike[str] | None = None,
    methods: Sequence[str] | None = None,
    to: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    *,
    generator: str | None = None,
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    notify: Callable[[str], None] = print_to_stderr,
) -> Path:
    """Fetch and verify a preset's networks, and make a folder of them that works anywhere without network.

    Args:
        methods: of ``targets``; None: the default method's. "all" is every one.
        to: the folder to make (``--preset FOLDER``); None: the hub's cache keeps them, for its own name.
        dtype: "bfloat16" and "float16" take half-precision weights where there are any.
        generator: few-step weights for OVDiff's support pictures too, of ``segwright.presets.FEW_STEPS``.
        clip: another CLIP in place of the preset's, as for ``segwright.load``.
        captioner: another captioner, likewise.
        vit: another ViT, likewise.

    Returns:
        the folder of the preset, or of its diffusion model in the cache.

    Raises:
        InputError: unknown method or network, or a preset that needs no fetching.
        WeightsError: something cannot be had.
        OutputError: the folder cannot be made.
    """
    chosen = (DEFAULT,) if methods is None else targets() if "all" in methods else tuple(_known(methods))
    found = find_preset(default_preset() if preset is None else preset)
    if not found.parts:
        raise InputError(f"preset {found.name!r} lies on this machine already; nothing is to be fetched")
    single = {kind: name for kind, name in (("clip", clip), ("captioner", captioner), ("vit", vit)) if name is not None}
    placed = [pair for method in chosen for pair in _placed(method, found, dtype, single)]
    if generator is not None:
        placed += [(generator, part) for part in load(found.name, "cpu").generator(generator).parts(["diffusion"])]
    wanted = {part.repo: part for _, part in placed}
    folders = hub.fetch(list(wanted.values()), hub.Fetching(dtype != "float32", verify=True, notify=notify))
    if to is None:
        return folders[0]
    names = dict(placed)
    if any(names[name] != part for name, part in placed):
        raise InputError("these methods need two different CLIPs, and a folder holds one; fetch them into two folders, or give one")
    return _make_folder(found, chosen, names, dict(zip(wanted, folders, strict=True)), Path(to).expanduser())


def _placed(method: str, preset: Preset, dtype: str, single: Mapping[str, str]) -> list[tuple[str, Part]]:
    """The networks that a method needs, by the folder of a preset that each lies in, and where the hub has them."""
    networks = _networks(method, preset.name, dtype, **single)
    return [(name, part) for name in needs(method, networks.preset) if (part := networks.part(name)) is not None]


def size(method: str, preset: Preset, half: bool = False) -> int:
    """Bytes of all that a method needs of a preset; 0 for folders."""
    return sum(file.size for _, part in _placed(method, preset, "float32", {}) for file in part.wanted(half))


def _make_folder(preset: Preset, methods: Sequence[str], placed: Mapping[str, Part], folders: Mapping[str, Path], to: Path) -> Path:
    """Copy the networks into a folder in the layout of preset mini; under a temporary name until it is whole."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise OutputError(f"{str(to)!r} exists already; name a folder that does not, or remove it")
    bytes_ = sum(p.stat().st_size for name, part in placed.items() for p in _own(folders[part.repo]))
    if bytes_ + hub.SPARE > hub.room(to.absolute().parent):
        raise OutputError(
            f"{human(bytes_)} are to be written to {str(to)!r}, where {human(hub.room(to.absolute().parent))} are free"
        )
    half = to.with_name(f"{to.name}.incomplete")
    shutil.rmtree(half, ignore_errors=True)
    try:
        for name, part in placed.items():
            for path in _own(folders[part.repo]):
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


def _own(folder: Path) -> list[Path]:
    """The files of a network's folder: no pickles of other programs that share the cache, and one precision of weights."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix in (".json", ".txt", ".safetensors")]
    return [p for p in files if ".fp16." not in p.name or not p.with_name(p.name.replace(".fp16.", ".")).exists()]


def _plain(path: Path) -> Path:
    """Weights in half precision under the names of full ones, which is what a folder's readers look for."""
    return path.with_name(path.name.replace(".fp16.", "."))


def describe() -> str:
    """All presets for people: what each method needs in bytes, of which networks; then each repository and where it lies."""
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
        kinds = (kind for kind in preset.parts if preset.tiny or kind != "tiny_vae")
        lines.append(f"  networks: {', '.join(f'{kind} {preset.parts[kind].repo}' for kind in kinds)}")
    lines.append("any folder in the layout of mini: as that folder's owner licenses it")
    return "\n".join([*lines, "repositories:", *_repositories()])


def _repositories() -> list[str]:
    """Each once: size, licence, the option that chooses it in place of a preset's, and where it lies."""
    chosen = {part.repo: f"--{kind} {name}" for kind, table in CHOICES.items() for name, part in table.items()}
    chosen |= {made.part.repo: f"segwright prototypes --generator {name}" for name, made in FEW_STEPS.items()}
    parts = [part for preset in PRESETS.values() for part in preset.parts.values()]
    parts += [part for table in CHOICES.values() for part in table.values()] + [made.part for made in FEW_STEPS.values()]
    lines = []
    for part in {part.repo: part for part in parts}.values():
        try:
            where = str(hub.cached(part))
        except WeightsError:
            where = "not fetched yet"
        about = ", ".join([human(part.size), part.licence, *([chosen[part.repo]] if part.repo in chosen else [])])
        lines.append(f"  {part.repo} ({about}): {where}")
    return lines

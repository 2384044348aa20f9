"""The command line and the Python lines that make a result of the page again, bit for bit on the same machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from segwright.methods.base import MethodSpec
from segwright.methods.ovdiff.support import SupportSettings
from segwright.refine.pipeline import refiner_settings
from segwright.server.page.workspace import Loading, RefineResult, Result
from segwright.settings import read_settings
from segwright.weights import split_companions


class Made(Protocol):
    """What was made of a photo, or of a folder of photos: ``Result`` and ``Collected``."""

    @property
    def photo(self) -> str: ...
    @property
    def words(self) -> tuple[str, ...] | None: ...
    @property
    def spec(self) -> MethodSpec: ...
    @property
    def texts(self) -> tuple[str, ...]: ...


def segment_command(result: Made) -> str:
    """``segwright segment ...``."""
    spec = result.spec
    parts = ["segwright", "segment", result.photo, *_words(result.words), "--method", spec.name]
    single, options = split_companions(spec.extras)
    parts += _networks(spec.preset, spec.device, spec.dtype, single)
    typed = {text.partition("=")[0].strip() for text in result.texts}  # replace what was chosen, and a command takes neither twice
    for name, value in [*spec.settings.items(), *options.items()]:
        parts += [] if name in typed else _flag(name, value)
    return shlex.join([*parts, *_set(result.texts), "-o", "out"])


def segment_lines(result: Made) -> str:
    """Python."""
    return (
        "import segwright as sw\n"
        f"image = sw.read({result.photo!r})\n"
        f"method = {_method(result)}\n"
        f"segmentation = method(image{_given(result)})\n"
        f'sw.save(segmentation, "out/result.png", image)\n'
    )


def by_hand(result: Result) -> str:
    """What was changed by hand, as further lines of Python."""
    changes, words = result.changes, result.segmentation.words
    lines = []
    if changes.dropped:
        gone = sorted(changes.dropped)
        labels = f"np.where(np.isin(segmentation.labels, {gone}), 0, segmentation.labels)"
        lines += ["from dataclasses import replace", "import numpy as np", f"segmentation = replace(segmentation, labels={labels})"]
    if kept := [one for one in changes.added if one.label not in changes.dropped]:
        spec = result.spec
        given = _arguments(spec.preset, spec.device, spec.dtype, split_companions(spec.extras)[0], {})
        lines.append(f"best = sw.load_method('best', {given})")
        lines += [f"segmentation = best.also(image, segmentation, {words[one.label - 1]!r}, {one.place!r})" for one in kept]
    return "".join(f"{line}\n" for line in [*lines, 'sw.save(segmentation, "out/result.png", image)']) if lines else ""


def collection_command(result: Made) -> str:
    """``segwright segment ...``, and what is made of the run."""
    return f"{segment_command(result)}\nsegwright overview out\nsegwright export out --format coco -o coco --copy-photos"


def collection_lines(result: Made) -> str:
    """Python."""
    return (
        "import segwright as sw\n"
        f"method = {_method(result)}\n"
        f'for outcome in sw.segment({result.photo!r}, method, "out"{_given(result)}):\n'
        '    print(outcome.photo, outcome.error or "")\n'
        'sw.overview("out")\n'
        'sw.export("out", "coco", "coco", copy_photos=True)\n'
    )


def _given(result: Made) -> str:
    """The words as an argument."""
    return "" if result.words is None else f", words={list(result.words)!r}"


def _method(result: Made) -> str:
    """The method as an expression."""
    spec = result.spec
    if result.texts:  # as they were typed, then typed and checked there
        given = _arguments(spec.preset, spec.device, spec.dtype, {}, {"settings": dict(spec.settings), "extras": dict(spec.extras)})
        return f"sw.MethodSpec({spec.name!r}, {given}).with_texts({list(result.texts)!r}).load()"
    given = _arguments(spec.preset, spec.device, spec.dtype, {}, {**spec.extras, **spec.settings})
    return f"sw.load_method({spec.name!r}, {given})"


def refine_command(result: RefineResult) -> str:
    """``segwright refine ...``."""
    named = ["--words-map", result.request.words_map] if result.request.words_map.strip() else []
    parts = ["segwright", "refine", result.photo, "--mask", result.request.mask.name, *named]
    parts += ["--with", result.request.refiners, *_networks(*result.loading), *_set(result.request.texts)]
    return shlex.join([*parts, "-o", "out"])


def refine_lines(result: RefineResult) -> str:
    """Python."""
    words = f"parse_words_map({result.request.words_map!r})" if result.request.words_map.strip() else "None"
    changes = read_settings(result.request.texts, refiner_settings(), "refine")
    row = f"changed_row({result.request.refiners!r}, {changes!r}, REFINERS)" if changes else repr(result.request.refiners)
    imports = (
        "from segwright.refine.pipeline import changed_row\nfrom segwright.runs.refine_masks import REFINERS\n" if changes else ""
    )
    return (
        "import segwright as sw\n"
        "from segwright.files.coarse_masks import parse_words_map\nfrom segwright.runs.refine_masks import RefinementSettings\n"
        f"{imports}"
        f"networks = sw.load({_arguments(*result.loading, {})})\n"
        f"settings = RefinementSettings({row})\n"
        f"for done in sw.refine_masks({result.photo!r}, {result.request.mask.name!r}, "
        f'"out", {words}, networks, settings=settings):\n'
        '    print(done.file, done.error or "")\n'
    )


def bank_command(loading: Loading, words: Sequence[str], stuff: Sequence[str], folder: str, settings: SupportSettings) -> str:
    """``segwright prototypes ...``."""
    parts = ["segwright", "prototypes", ", ".join(words), "-o", folder, *_networks(*loading)]
    parts += ["--support", str(settings.pictures), "--batch", str(settings.batch)]
    parts += ["--steps", str(settings.sampling.steps)] if settings.sampling else []
    return shlex.join(parts + (["--stuff", ", ".join(stuff)] if stuff else []))


def bank_lines(loading: Loading, words: Sequence[str], stuff: Sequence[str], folder: str, settings: SupportSettings) -> str:
    """Python."""
    kinds = f", stuff={list(stuff)!r}" if stuff else ""
    sampling = f", sampling={settings.sampling!r}" if settings.sampling else ""
    imports = "from segwright.models.sampling import SamplingSettings\n" if settings.sampling else ""
    return (
        f"import segwright as sw\n{imports}"
        f"support = sw.SupportSettings(pictures={settings.pictures}, batch={settings.batch}{sampling})\n"
        f"method = sw.OVDiff.load({_arguments(*loading, {})}, bank={folder!r}, support=support{kinds})\n"
        f"method.prepare({list(words)!r})\n"
    )


def diagnose_command(loading: Loading, photo: str, words: Sequence[str], parts: Sequence[str]) -> str:
    """``segwright diagnose ...``."""
    given = ["segwright", "diagnose", photo, "--words", ", ".join(words), "--only", ",".join(parts), *_networks(*loading)]
    return shlex.join([*given, "-o", "out"])


def diagnose_lines(loading: Loading, photo: str, words: Sequence[str], parts: Sequence[str]) -> str:
    """Python."""
    return (
        "import segwright as sw\n"
        f'page = sw.diagnose({photo!r}, {list(words)!r}, "out", only={list(parts)!r}, preset={_arguments(*loading, {})})\n'
        "print(page)\n"
    )


def _words(words: Sequence[str] | None) -> list[str]:
    return [] if words is None else ["--words", ", ".join(words)]


def _set(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in ("--set", text)]


def _networks(preset: Any, device: str | None, dtype: str, single: Mapping[str, Any]) -> list[str]:
    parts = ["--preset", str(preset), *(part for kind, chosen in single.items() for part in _flag(kind, chosen))]
    parts += ["--device", device] if device else []
    return parts + (["--dtype", dtype] if dtype != "float32" else [])


def _flag(name: str, value: Any) -> list[str]:
    option = "--" + name.replace("_", "-")
    if value is True:
        return [option]
    if value is None:
        return [option, "none"]
    return [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def _arguments(preset: Any, device: str | None, dtype: str, single: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    changed = {"device": device} if device else {}
    changed |= {"dtype": dtype} if dtype != "float32" else {}
    return ", ".join([repr(preset), *(f"{name}={value!r}" for name, value in [*changed.items(), *single.items(), *others.items()])])

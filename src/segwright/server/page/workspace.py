"""The page's networks, cache and banks; its work as plain functions: photo, words, settings -> result."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import InputError, SegwrightError
from segwright.files.coarse_masks import parse_words_map, read_coarse
from segwright.methods import DEFAULT, find_method, list_methods
from segwright.methods.base import Method, MethodSpec, Trace, settings_known
from segwright.methods.best.method import Best
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.default_bank import banks_folder
from segwright.models.cache import Cache, cached
from segwright.presets import default_preset, find_preset
from segwright.refine.base import Refiner
from segwright.refine.pipeline import changed_row, refine, refiner_settings
from segwright.runs.refine_masks import REFINERS, RefinementSettings
from segwright.server.page.corrections import Added, Corrections
from segwright.server.page.uploads import Limits
from segwright.server.page.work import Job
from segwright.settings import read_settings
from segwright.types import Image, Scores, Segmentation
from segwright.weights import Networks, load, split_companions
from segwright.words.vocabulary import parse_words

Loading = tuple[str, str | None, str, Mapping[str, str]]  # preset, device, dtype, single networks
OWN = "method's own"  # of settings: nothing chosen
NO_REFINER = "none"


@dataclass(frozen=True)
class Request:
    """What a person asks of the first tab.

    Attributes:
        words: as typed, separated by commas; empty: the photo's caption names them.
        method: one of ``METHODS``.
        settings: those that were chosen; OWN, None and "" count as not chosen.
        bank: name of a bank of the page, for ovdiff.
        stuff: which of the words are stuff, as typed, for ovdiff.
        more: any other settings, one a line, as ``--set`` takes them.
    """

    words: str = ""
    method: str = DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict)
    bank: str = ""
    stuff: str = ""
    more: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The lines of ``more``."""
        return tuple(line.strip() for line in self.more.splitlines() if line.strip())


@dataclass(frozen=True)
class Result:
    """A segmentation, and all that tells how to make it again.

    Attributes:
        photo: the file's name.
        words: as given to the method.
        spec: the method and its settings, as chosen, those of ``texts`` left out.
        texts: any other settings, as ``--set`` takes them.
        trace: the segmentation and how it came about.
        seconds: that it took.
        changes: by hand.
    """

    photo: str
    image: Image
    words: tuple[str, ...] | None
    spec: MethodSpec
    trace: Trace
    seconds: float
    texts: tuple[str, ...] = ()
    changes: Corrections = field(default_factory=Corrections)

    @property
    def segmentation(self) -> Segmentation:
        """The method's."""
        return self.trace.segmentation

    @property
    def corrected(self) -> Segmentation:
        """After what was changed by hand."""
        return self.changes.corrected(self.segmentation)


@dataclass(frozen=True)
class RefineRequest:
    """What a person asks of the tab "Refine".

    Attributes:
        mask: file of the coarse mask, named as the person knows it.
        words_map: "1=dog, 2=sofa".
        refiners: joined by commas.
        more: settings of refiners, one a line, as ``--set`` takes them: "g4seg.timestep=100".
    """

    mask: Path
    words_map: str
    refiners: str = "g4seg,crf"
    more: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The lines of ``more``."""
        return tuple(line.strip() for line in self.more.splitlines() if line.strip())

    @property
    def row(self) -> tuple[Refiner, ...]:
        """The refiners, with their settings."""
        return changed_row(self.refiners, read_settings(self.texts, refiner_settings(), "refine"), REFINERS)


@dataclass(frozen=True)
class RefineResult:
    """Before and after; ``loading`` as ``Workspace.loading``."""

    photo: str
    image: Image
    request: RefineRequest
    loading: Loading
    before: Segmentation
    segmentation: Segmentation
    coarse: Scores
    seconds: float


class Workspace:
    """The page's networks, loaded once; what is known of photos; and where its banks lie."""

    def __init__(
        self,
        preset: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str = "float32",
        banks: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        *,
        cache: Cache | None = None,
        single: Mapping[str, Any] | None = None,
    ) -> None:
        self.preset = find_preset(default_preset() if preset is None else preset).name
        self.device, self.dtype, self.single = device, dtype, dict(single or {})
        self.limits = limits or Limits()
        self.cache = cache or Cache()
        self.banks = Path(banks).expanduser() if banks is not None else banks_folder() / "page"
        self._networks: dict[str, Networks] = {}
        self.networks = self.shared(load(self.preset, device, dtype, **self.single))

    @property
    def loading(self) -> Loading:
        """Preset, device, dtype and single networks, as ``segwright.load`` takes them."""
        return self.preset, self.device, self.dtype, self.single

    def shared(self, networks: Networks) -> Networks:
        """The networks that are loaded already, in place of equal ones that are not; what they compute is cached."""
        key = repr(sorted(networks.swapped.items()))
        if key not in self._networks:
            self._networks[key] = cached(networks, self.cache)
        return self._networks[key]

    def offered(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The methods whose networks the preset has, and why each of the others is not among them."""
        reasons: dict[str, str] = {}
        for name in list_methods():
            try:
                for network in find_method(name).needs:
                    self.networks.require(network)
            except SegwrightError as error:
                reasons[name] = str(error).partition(";")[0]
        return tuple(name for name in list_methods() if name not in reasons), reasons

    def spec(self, request: Request) -> MethodSpec:
        """The method with the settings and options that were chosen, as far as it has them.

        Raises:
            InputError: no such method, or no such bank.
        """
        kind = find_method(request.method)
        known = settings_known(kind)
        chosen = {k: v for k, v in request.settings.items() if k in known and not (v is None or v is False or v in (OWN, ""))}
        if chosen.get("refine") == NO_REFINER:
            chosen["refine"] = None
        options: dict[str, Any] = {"bank": str(self.bank_path(request.bank))} if request.bank else {}
        options |= {"stuff": parse_words(request.stuff)} if request.stuff.strip() else {}
        extras = {name: value for name, value in options.items() if name in kind.options} | self.single
        return MethodSpec(request.method, self.preset, self.device, self.dtype, chosen, extras)

    def method(self, spec: MethodSpec) -> Method:
        """The method of a spec on the page's own networks and cache."""
        single, options = split_companions(spec.extras)
        networks = spec.kind.open_networks(spec.preset, spec.device, spec.dtype, **single)
        return spec.kind.on(self.shared(networks), **options, **spec.settings)

    def segment(self, image: Image, photo: str, request: Request, job: Job | None = None) -> Result:
        """Segment one photo.

        Raises:
            SegwrightError: as the method.
            Stopped: the job was stopped.
        """
        job = job or Job()
        began = time.perf_counter()
        words = parse_words(request.words) if request.words.strip() else None
        spec = self.spec(request)
        job.report("Opening the networks")
        method = self.method(spec.with_texts(request.texts))
        if words is not None:
            method.prepare(words, partial(_tell_pictures, job))
        trace = method.trace(image, words)
        return Result(photo, image, words, spec, trace, time.perf_counter() - began, request.texts)

    def also(self, result: Result, label: int, place: tuple[float, ...], job: Job | None = None) -> Result:
        """The result with the region at a place added to a word, by ``Best.also``.

        Raises:
            InputError: nothing unlabelled belongs to the place, or there are too many additions.
            WeightsError: the preset lacks networks.
        """
        (job or Job()).report("Looking for what belongs there")
        preset, device, dtype, single = self.loading
        method = Best.on(self.shared(Best.open_networks(preset, device, dtype, **single)))
        where = method.reach(result.image, result.segmentation.words[label - 1], place)
        if not (where & (result.corrected.labels == 0)).any():
            raise InputError("nothing unlabelled belongs to that place; try another one, or draw a box")
        one = Added(label, place, np.packbits(where), (where.shape[0], where.shape[1]))
        return replace(result, changes=result.changes.with_added(one))

    def refine(self, image: Image, photo: str, request: RefineRequest, job: Job | None = None) -> RefineResult:
        """Refine one photo's coarse mask, as ``segwright refine`` does.

        Raises:
            SegwrightError: an unusable mask, words or refiners.
        """
        job = job or Job()
        began = time.perf_counter()
        words = parse_words_map(request.words_map) if request.words_map.strip() else None
        settings = RefinementSettings(request.row)
        if words is None and (needy := [refiner.name for refiner in settings.row if refiner.needs_words]):
            raise InputError(f"{needy[0]} must know what the mask's indices are called; write for example 1=dog, 2=sofa")
        coarse = read_coarse(request.mask, (image.shape[0], image.shape[1]), words, settings.trust)
        job.report(f"Refining with {request.refiners.replace(',', ', then ')}")
        scores = refine(image, coarse, settings.row, self.networks)
        before, after = (Segmentation(s.words, s.argmax().cpu().numpy(), s) for s in (coarse, scores))
        return RefineResult(photo, image, request, self.loading, before, after, coarse, time.perf_counter() - began)

    def bank_path(self, name: str) -> Path:
        """The folder of a bank by its name.

        Raises:
            InputError: a name that is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
            raise InputError(f"a bank's name has up to 40 letters, digits, - and _ (without accents), got {name[:60]!r}")
        return self.banks / name

    def bank_names(self) -> list[str]:
        """The banks of the page."""
        return sorted(p.parent.name for p in self.banks.glob("*/bank.json"))

    def bank(self, name: str) -> Bank:
        """An existing bank.

        Raises:
            InputError: there is none.
        """
        if name not in self.bank_names():
            raise InputError(f"there is no bank {name!r} yet; build one first")
        return Bank.open(self.bank_path(name))


def _tell_pictures(job: Job, word: str, made: int, of: int) -> None:
    job.report(f"Drawing support pictures of {word}: {made} of {of}", made / of)

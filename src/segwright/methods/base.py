"""The contract of a method; a method by name and settings, which each process loads for itself; and traces of its steps."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial, wraps
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.files.record import plain, versions
from segwright.images import as_image
from segwright.models.object_features import object_features
from segwright.presets import CHOICES, NETWORKS, Preset, find_preset
from segwright.profiles import Profile, find_profile
from segwright.refine.base import Refiner
from segwright.refine.pipeline import changed_row, parse_refiners, refine, refiner_settings
from segwright.refine.upsample import hard_scores, shrunk, upsample
from segwright.settings import Branch, Tree, build, merged, read_settings, settings_tree
from segwright.types import Image, Scores, Segmentation, check_image, check_seed
from segwright.weights import Networks, load, pick_device
from segwright.words.synonyms import joined, names_of, split_names
from segwright.words.vocabulary import check_words

LOADING = (*CHOICES, "fast")  # what ``segwright.load`` takes by name
# Of what is no method of ours.
UNKNOWN: dict[str, Any] = {"method": None, "preset": None, "device": None, "dtype": None, "settings": {}}
Progress = Callable[[str, int, int], object]  # (word, pictures made, of so many)


class Settings(Protocol):
    """What the settings of every method have."""

    @property
    def refine(self) -> Any: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class NoSettings:
    """Of a method that has none."""

    refine: None = None
    seed: int = 0


@dataclass(frozen=True)
class Trace:
    """A segmentation, and how it came about, as HTML made when it is asked for.

    Attributes:
        body: the method's steps; "" where there is no page of them.
        region: label -> what decided its pixels.
        has_maps: scores say where a word is likely, not only which region it has.
    """

    segmentation: Segmentation
    body: Callable[[], str] = lambda: ""
    region: Callable[[int], str] = lambda label: ""
    has_maps: bool = True


def _by_names(function: Callable[..., Any], join: Callable[[Any, Sequence[str]], Any]) -> Callable[..., Any]:
    """A method's function of (what, words, ...): called with all names of the words, its result joined."""

    @wraps(function)
    def called(self: Any, what: Any, words: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        if words is None or isinstance(words, str) or self.takes_synonyms:
            return function(self, what, words, *more, **named)
        split = tuple(word for word in check_words(words))
        if not any(len(names_of(word)) > 1 for word in split):
            return function(self, what, words, *more, **named)
        return join(function(self, what, split_names(split)[0], *more, **named), split)

    return called


def _with_images(function: Callable[..., Any], several: bool) -> Callable[..., Any]:
    """A method's function of (image, ...), or of several images: paths and Pillow images are read first."""

    @wraps(function)
    def called(self: Any, what: Any, *more: Any, **named: Any) -> Any:
        given = [as_image(one) for one in what] if several else as_image(what)
        return function(self, given, *more, **named)

    return called


def _marked(function: Callable[..., Any], mark: Callable[[Any], Any]) -> Callable[..., Any]:
    """A method's function of (what, words, ...), whose results say when no words were given."""

    @wraps(function)
    def called(self: Any, what: Any, words: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        made = function(self, what, words, *more, **named)
        return mark(made) if words is None else made

    return called


# What of a method is called with words or without, and how its result says that its words are its own.
_OWN: dict[str, Callable[[Any], Any]] = {
    "many": lambda results: [replace(result, own_words=True) for result in results],
    "trace": lambda trace: replace(trace, segmentation=replace(trace.segmentation, own_words=True)),
}


def _joined_trace(trace: Trace, words: Sequence[str]) -> Trace:
    owners = split_names(words)[1]

    def region(label: int) -> str:
        return "".join(trace.region(name) for name, owner in enumerate(owners, 1) if owner == label - 1)

    return replace(trace, segmentation=joined(trace.segmentation, words), region=region)


# What of a method is called with words, and how its result for all names becomes that for the words.
_JOINS: dict[str, Callable[[Any, Sequence[str]], Any]] = {
    "many": lambda results, words: [joined(result, words) for result in results],
    "trace": _joined_trace,
    "explain": lambda page, words: page,
}


class Method(ABC):
    """What finds words in images. Subclasses may be in other packages (entry points ``segwright.methods``).

    Attributes:
        name: by which it is found.
        paper: where it comes from.
        protocol: how its paper measured, a key of ``segwright.evaluation.protocols.PAPERS``; None: no paper did.
        Settings: the frozen dataclass of its settings; all have defaults.
        options: what ``load`` takes beside settings, and the type of each.
        without_background: settings for data sets in which every pixel has a class.
        by_data: settings that its paper has for one data set alone, by the data set's name.
        profiles: the method as its paper and as its published code have it, "paper" and "published"
            (``segwright.profiles``).
        refiners: what a refiner's name means for this method, where that is not the refiner's own defaults.
        needs: kinds of networks that it runs on whatever its settings (``segwright.presets.NETWORKS``).
        absent_words: how its paper treats words that are not in the photo, one clause for people; "" where that is the user's
            own sense of it.
        weak_with: presets that it does poorly with; ``segwright check`` shows it there and does not judge it.
        takes_synonyms: it reads the names of words itself. Else it is given all names of words of several (``Word``), and its
            results are joined, wherever it is called from.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    protocol: ClassVar[str | None] = None
    Settings: ClassVar[type] = NoSettings
    options: ClassVar[Mapping[str, Any]] = {}
    without_background: ClassVar[Mapping[str, Any]] = {}
    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    profiles: ClassVar[Mapping[str, Profile]] = {}
    refiners: ClassVar[Mapping[str, Refiner]] = {}
    needs: ClassVar[tuple[str, ...]] = ()
    absent_words: ClassVar[str] = ""
    weak_with: ClassVar[tuple[str, ...]] = ()
    takes_synonyms: ClassVar[bool] = False

    networks: Networks
    settings: Any

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        for name, join in _JOINS.items():
            if name in vars(cls):
                setattr(cls, name, _by_names(vars(cls)[name], join))
            if name in _OWN and name in vars(cls):
                setattr(cls, name, _marked(vars(cls)[name], _OWN[name]))
            if name in vars(cls):
                setattr(cls, name, _with_images(vars(cls)[name], several=name == "many"))

    @classmethod
    def load(
        cls, preset: str | os.PathLike[str] | None = None, device: str | None = None, dtype: str = "float32", **settings: Any
    ) -> Self:
        """A preset's networks (``segwright.weights.load``), each read and fetched when first used, and settings.

        Args:
            settings: as ``cls.Settings``, single networks in place of the preset's (clip="clip-b16"), and ``fast``.

        Raises:
            InputError: unknown device, dtype, or values of settings.
            WeightsError: no such preset, or one without a network that the method needs.
        """
        companions, rest = split_companions(settings)
        return cls._make(cls.open_networks(preset, device, dtype, **companions), rest)

    @classmethod
    def on(cls, networks: Networks, **settings: Any) -> Self:
        """The method on networks that are there already."""
        return cls._make(networks, settings)

    @classmethod
    def open_networks(cls, preset: Any, device: str | None, dtype: str, **companions: Any) -> Networks:
        """The networks that ``load`` gives the method."""
        networks = load(preset, device, dtype, **companions)
        for kind in cls.needs:
            networks.require(kind)
        return networks

    @classmethod
    def _make(cls, networks: Networks, settings: dict[str, Any]) -> Self:
        return cls(networks, cls.checked(settings, networks.preset))  # type: ignore[call-arg]

    @classmethod
    def checked(cls, settings: Mapping[str, Any], preset: Preset | None = None) -> Any:
        """``cls.Settings``. Settings that have parts may be dictionaries: features={"kind": "query"}, refine={"crf": {}}.

        Args:
            preset: whose own settings a dictionary changes.

        Raises:
            InputError: a setting that the method does not have, or a value that it refuses.
        """
        given = dict(settings)
        if isinstance(given.get("refine"), Mapping):
            given["refine"] = parse_refiners(given["refine"], cls.refiners)
        made = build(cls.Settings, given, cls.name, preset)
        check_seed(made.seed)
        return made

    @classmethod
    def settings_tree(cls) -> Tree:
        """All that can be set by name: the settings, those of refiners below ``refine``, and ``options``."""
        own = settings_tree(cls.Settings)
        return {**own, "refine": Branch(own["refine"], refiner_settings()), **cls.options}

    @abstractmethod
    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """Segment several images, (H, W, 3) uint8 each, every one independent of the others.

        Args:
            words: the vocabulary; None: the method finds words itself.

        Raises:
            InputError: not images, or unusable words.
            WeightsError: networks that cannot be loaded.
        """

    def __call__(self, image: Image, words: Sequence[str] | None = None) -> Segmentation:
        """Segment one image, given as ``segwright.images.as_image`` takes it; see ``many``."""
        photo = as_image(image)
        return replace(self.many([photo], words)[0], features=partial(self.object_features, photo))

    def object_features(self, image: Image) -> Any:
        """(C, h, w) float32 that tell things of one kind in an image apart: ``segwright.models.object_features``.

        Raises:
            WeightsError: the method's preset has no diffusion model.
        """
        self.networks.require("diffusion")
        return object_features(self.networks.diffusion, as_image(image))

    def prepare(self, words: Sequence[str], progress: Progress | None = None) -> None:
        """Make what is made once for words; most methods make nothing."""
        return None

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        """Digests of what ``prepare`` has made for words, where results depend on it; most methods make nothing."""
        return {}

    @classmethod
    def asks_for(cls, preset: Preset, settings: Any, words: bool) -> tuple[str, ...]:
        """The kinds of networks that the method itself opens, in any order: what is fetched beforehand, and what results depend on.

        Args:
            settings: of ``cls.Settings``.
            words: a vocabulary is given.
        """
        return cls.needs

    @classmethod
    def opens_for(cls, preset: Preset, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The kinds of networks that its ``options`` ask for beside ``asks_for``; most methods have no such options."""
        return ()

    @classmethod
    def draws_with(cls, options: Mapping[str, Any]) -> str | None:
        """The few-step weights (``segwright.presets.FEW_STEPS``) that options of ``load`` ask for; most methods draw nothing."""
        return None

    @classmethod
    def opens(cls, preset: Preset, settings: Any, words: bool) -> tuple[str, ...]:
        """``asks_for``, what the refiners of the settings ask for, and what comes with these; in the order of ``NETWORKS``."""
        row = parse_refiners(settings.refine, cls.refiners)
        return preset.companions((*cls.asks_for(preset, settings, words), *(kind for refiner in row for kind in refiner.kinds)))

    def uses(self, words: bool | None = None) -> tuple[str, ...]:
        """The kinds of networks on which a result can depend.

        Args:
            words: a vocabulary is given, or none is; None: either way.
        """
        return self._uses(self.settings, words)

    def _uses(self, settings: Any, words: bool | None) -> tuple[str, ...]:
        ways = (True, False) if words is None else (words,)
        kinds = {kind for way in ways for kind in self.opens(self.networks.preset, settings, way)}
        return tuple(kind for kind in NETWORKS if kind in kinds)

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        """All that a result depends on beside image and words, in JSON's kinds: equal identities, equal results.

        The commits of networks from the hub are known once these are on this machine, so they are fetched if need be.

        Args:
            words: as for ``uses``; a run says it, so that nothing is fetched that it will not open.
        """
        networks, row = self.networks, parse_refiners(self.settings.refine, self.refiners)
        calibration = networks.calibration(self.name)
        names = ",".join(refiner.name for refiner in row) or None
        return {
            "method": self.name,
            "preset": os.path.basename(os.fspath(networks.preset.name).rstrip(os.sep)),
            "device": networks.device.type,
            "dtype": str(networks.dtype).removeprefix("torch."),
            "settings": {k: v for k, v in plain(asdict(self.settings)).items() if k != "refine"} | {"refine": names},
            "refine": [plain(refiner.identity(networks)) for refiner in row],
            "networks": {kind: networks.identity(kind) for kind in sorted(self.uses(words))},
            "defaults": plain(networks.preset.settings()),
            "versions": all_versions(),
            **({"calibration": plain(calibration)} if calibration else {}),
        }

    def refined(self, image: Image, scores: Scores) -> Scores:
        """The scores after the refiners of the settings."""
        return refine(image, scores, parse_refiners(self.settings.refine, self.refiners), self.networks)

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image and keep its steps."""
        return Trace(self(image, words))

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of a method's steps on one image.

        Raises:
            InputError: the method has no such page.
        """
        from segwright.methods import find_method, list_methods

        shown = (name for name in list_methods() if find_method(name).explain is not Method.explain)
        raise InputError(f"{self.name} has no page of its steps; these have one: {', '.join(shown)}")


def mean_scores(coarse: Scores, labels: NDArray[np.integer]) -> dict[str, float]:
    """How sure a method was of each word found before refiners sharpened it: its mean coarse score over the pixels that it has.

    Args:
        labels: (H, W), of the final result.
    """
    rows = {label: coarse.values[row].detach().cpu().double() for row, label in enumerate(coarse.labels) if label}
    there = [int(label) for label in np.unique(labels) if int(label) in rows]
    return {coarse.words[label - 1]: float(rows[label][torch.from_numpy(labels == label)].mean()) for label in there}


def all_versions() -> dict[str, str | None]:
    """Of the packages on whose arithmetic results depend."""
    return versions() | {"numpy": np.__version__}


def split_companions(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``segwright.load`` takes beside preset, device and dtype, and all other settings."""
    return {k: v for k, v in settings.items() if k in LOADING}, {k: v for k, v in settings.items() if k not in LOADING}


def with_profile(
    kind: type[Method], profile: str | None, preset: Any, given: Mapping[str, Any], data: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """A preset, and settings, options and single networks, with a profile's where nothing else is given.

    Where the preset given is a folder, or ships, it keeps its own networks.

    Args:
        given: what ``load`` takes by name.
        data: the data set that the profile is for.

    Raises:
        InputError: the method has no such profile.
        WeightsError: there is no such preset.
    """
    if profile is None:
        return preset, dict(given)
    chosen = find_profile(kind.profiles, profile, kind.name).chosen(data)
    own = chosen.pop("preset", None)
    chosen.pop("names", None)
    if preset is not None and not find_preset(preset).parts:
        chosen = split_companions(chosen)[1]
    return own if preset is None else preset, merged(chosen, given)


@dataclass(frozen=True)
class Then(Method):
    """A method with refiners put behind it, after its own.

    Attributes:
        other: the networks that the refiners run on; None: the method's.
    """

    method: Method
    row: tuple[Refiner, ...]
    other: Networks | None = None
    name: ClassVar = "then"

    @property
    def takes_synonyms(self) -> bool:  # type: ignore[override]
        """As the method's."""
        return self.method.takes_synonyms

    @property
    def networks(self) -> Networks:  # type: ignore[override]
        return self.method.networks

    @property
    def settings(self) -> Any:
        return self.method.settings

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """As the method's own, each result's scores through the refiners.

        Raises:
            InputError: a result without scores, which cannot be refined.
        """
        return [self._refined(image, result) for image, result in zip(images, self.method.many(images, words), strict=True)]

    def prepare(self, words: Sequence[str], progress: Progress | None = None) -> None:
        self.method.prepare(words, progress)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        return self.method.made_for(words)

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        networks = self.other or self.networks
        kinds = sorted({kind for refiner in self.row for kind in refiner.kinds})
        behind = {"then": [plain(r.identity(networks)) for r in self.row], "then_on": {k: networks.identity(k) for k in kinds}}
        return self.method.identity(words) | behind

    def _refined(self, image: Image, result: Segmentation) -> Segmentation:
        if result.scores is None:
            raise InputError("a method without scores cannot be refined; leave the refiners out")
        scores = refine(image, result.scores, self.row, self.other or self.networks)
        return replace(result, labels=scores.argmax().cpu().numpy(), scores=scores)


@dataclass(frozen=True)
class Reduced(Method):
    """A method whose photos above ``largest`` megapixels are worked on at that size; smaller ones are the method's own business.

    Results of larger photos have no scores: these would take gigabytes.
    """

    method: Method
    largest: float
    name: ClassVar = "reduced"

    def __post_init__(self) -> None:
        if not (isinstance(self.largest, int | float) and 0.01 <= self.largest < math.inf):
            raise InputError(f"largest must be megapixels, 0.01 or more, got {self.largest!r}; 4 is usual")

    @property
    def networks(self) -> Networks:  # type: ignore[override]
        return self.method.networks

    @property
    def settings(self) -> Any:
        return self.method.settings

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        photos = [check_image(image) for image in images]
        small = [shrunk(photo, self.largest) for photo in photos]
        return [_whole(*row) for row in zip(photos, small, self.method.many(small, words), strict=True)]

    def prepare(self, words: Sequence[str], progress: Progress | None = None) -> None:
        self.method.prepare(words, progress)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        return self.method.made_for(words)

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return self.method.identity(words) | {"largest": self.largest}


def _whole(photo: Image, small: Image, found: Segmentation) -> Segmentation:
    if small is photo:
        return found
    scores = found.scores or hard_scores(found)
    return replace(found, labels=upsample(photo, small, scores), scores=None)


@dataclass(frozen=True)
class FunctionMethod(Method):
    """A function of images and words as a method; nothing is known of what its results depend on but its name."""

    function: Callable[..., list[Segmentation]]
    settings: NoSettings = field(default_factory=NoSettings)

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        return list(self.function(images, words))

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return {"method": name}


@dataclass(frozen=True)
class MethodSpec:
    """What ``load_method`` is to be called with. Light; can be pickled.

    Attributes:
        name: as for ``segwright.methods.find_method``.
        preset: as for ``segwright.weights.load``.
        device: as for ``segwright.weights.load``.
        dtype: as for ``segwright.weights.load``.
        settings: those of the method's ``Settings`` that were chosen; the others keep their defaults.
        extras: what the method's ``load`` takes beside its settings: its ``options`` (OVDiff: bank, support, stuff), and
            single networks (clip="clip-b16") and ``fast``.
        then: refiners put behind the method's own.
        profile: "paper" or "published": fills in what was not chosen.
        data: the data set that the profile is for; None: the profile's values for no data set in particular.
        then_on: what ``refining`` takes, for the networks of ``then``; None: those of the method.
        largest: megapixels above which a photo is worked on at that size (``Reduced``); None: never.
    """

    name: str
    preset: str | None = None
    device: str | None = None
    dtype: str = "float32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    then: tuple[Refiner, ...] = ()
    profile: str | None = None
    data: str | None = None
    then_on: Mapping[str, Any] | None = None
    largest: float | None = None

    def __post_init__(self) -> None:
        self.kind.checked(self.filled().settings)
        foreign = sorted(set(self.extras) - {*self.kind.options, *LOADING})
        if foreign:
            raise InputError(f"{self.name} has no option {', '.join(foreign)}; it has {', '.join(self.kind.options) or 'none'}")

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        from segwright.methods import find_method

        return find_method(self.name)

    @property
    def portable(self) -> bool:
        """Another process can load it."""
        return True

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the settings that were chosen."""
        return tuple(self.settings)

    @property
    def of_profile(self) -> Mapping[str, Any]:
        """What the profile says for its data set alone, "names" among it; empty without a profile."""
        if self.profile is None or self.data is None:
            return {}
        rows = find_profile(self.kind.profiles, self.profile, self.name).data.get(self.data, {})
        return {path: value for path, (value, _) in rows.items()}

    def filled(self) -> MethodSpec:
        """With its profile's values as if they had been chosen, and no profile.

        Raises:
            InputError: the method has no such profile.
        """
        if self.profile is None:
            return self
        preset, given = with_profile(self.kind, self.profile, self.preset, {**self.extras, **self.settings}, self.data)
        extras = {name: given.pop(name) for name in [*given] if name in (*self.kind.options, *CHOICES)}
        return replace(self, profile=None, data=None, preset=preset, settings=given, extras=extras)

    def for_data(self, name: str) -> MethodSpec:
        """With what its profile has for that data set."""
        return self if self.profile is None else replace(self, data=name)

    def load(self) -> Method:
        """The method with its networks, refiners behind it.

        Raises:
            InputError: as the method's ``load``.
            WeightsError: as the method's ``load``.
        """
        return self._opened(self.device)

    def _opened(self, device: str | None) -> Method:
        spec = self.filled()
        loaded = self.kind.load(spec.preset, device, self.dtype, **spec.extras, **spec.settings)
        other = None if self.then_on is None else refining(self.then_on, device, self.dtype)
        whole = Then(loaded, self.then, other) if self.then else loaded
        return whole if self.largest is None else Reduced(whole, self.largest)

    def needs(self, words: bool) -> tuple[Networks, tuple[str, ...], str | None]:
        """The networks as the method opens them, the kinds of which it will ask for, and its few-step weights, if any.

        Args:
            words: a vocabulary is given.
        """
        spec = self.filled()
        single, options = split_companions(spec.extras)
        networks = spec.kind.open_networks(spec.preset, "cpu", spec.dtype, **single)
        kinds = spec.kind.opens(networks.preset, spec.kind.checked(spec.settings, networks.preset), words)
        kinds = tuple(dict.fromkeys((*kinds, *spec.kind.opens_for(networks.preset, options))))
        behind = (kind for refiner in self.then for kind in refiner.kinds)
        return networks, networks.preset.companions((*kinds, *behind)), self.kind.draws_with(options)

    def fetch(self, words: bool) -> None:
        """Fetch all weights that the method will ask for, before any of its work is done; nothing to do for folders.

        Raises:
            WeightsError: they cannot be had, or a folder lacks them.
        """
        networks, kinds, generator = self.needs(words)
        networks.prepare(kinds, generator=generator)

    def prepare(self, words: Sequence[str]) -> None:
        """Make what the method makes once for words, before several processes want it; on the CPU if the device is not here."""
        self._anywhere().prepare(words)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        """The method's, without reading weights."""
        return self._anywhere().made_for(words)

    def _anywhere(self) -> Method:
        """On the CPU if the device is not here."""
        try:
            device = str(pick_device(self.device))
        except InputError:
            device = "cpu"
        return self._opened(device)

    def identity(self, words: bool | None = None, elsewhere: bool = False) -> dict[str, Any]:
        """The method's, without reading weights.

        Args:
            words: as for ``Method.uses``.
            elsewhere: its device need not be in this machine.
        """
        if not elsewhere or self.device is None:
            return Loaded(self._opened(self.device)).identity(words)
        return Loaded(self._opened("cpu")).identity(words) | {"device": self.device.partition(":")[0]}

    def with_settings(self, more: Mapping[str, Any]) -> MethodSpec:
        """With more settings."""
        return replace(self, settings={**self.settings, **more})

    def with_texts(self, texts: Sequence[str]) -> MethodSpec:
        """With more settings and options, as ``--set`` takes them: "clusters=5", "features.kind=query".

        They replace what was chosen before.

        Raises:
            InputError: an unknown name, one that is given twice, or a text that is no value of its type.
        """
        if not texts:
            return self
        given = read_settings(texts, self.kind.settings_tree(), self.name)
        row = given.pop("refine", {})
        if row:
            named = row.pop("", self.filled().settings.get("refine", self.kind.Settings().refine))
            given["refine"] = changed_row(named, row, self.kind.refiners) if row else named
        options = {name: given.pop(name) for name in self.kind.options if name in given}
        return replace(self, settings=merged(self.settings, given), extras=merged(self.extras, options))

    def with_option(self, name: str, value: Any) -> MethodSpec:
        """With one of the method's options, if it has it and nothing else was chosen."""
        if name not in self.kind.options or name in self.filled().extras:
            return self
        return replace(self, extras={**self.extras, name: value})


def refining(how: Mapping[str, Any], device: str | None, dtype: str) -> Networks:
    """The networks of refiners that stand behind a method and do not run on its own.

    Args:
        how: what ``segwright.weights.load`` takes by name, and "generator": few-step weights of
            ``segwright.presets.FEW_STEPS`` as the diffusion model.

    Raises:
        InputError: as ``load``.
        WeightsError: as ``load``.
    """
    given = {"device": device, "dtype": dtype, **how}
    generator = given.pop("generator", None)
    return load(**given).generator(generator)


@dataclass(frozen=True)
class Loaded:
    """A method that is loaded already, asked like a ``MethodSpec``."""

    method: Method

    @property
    def kind(self) -> type[Method]:
        return type(self.method)

    @property
    def portable(self) -> bool:
        """It cannot be sent to other processes with its networks."""
        return False

    def fetch(self, words: bool) -> None:
        """Its networks are its own business."""

    @property
    def of_profile(self) -> Mapping[str, Any]:
        """Nothing: what was loaded has its settings."""
        return {}

    def for_data(self, name: str) -> Loaded:
        """Itself: what was loaded keeps its settings."""
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the settings that differ from their defaults."""
        settings = self.method.settings
        default = type(settings)()
        return tuple(f.name for f in fields(settings) if getattr(settings, f.name) != getattr(default, f.name))

    def load(self) -> Method:
        return self.method

    def prepare(self, words: Sequence[str]) -> None:
        self.method.prepare(words)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        return self.method.made_for(words)

    def identity(self, words: bool | None = None, elsewhere: bool = False) -> dict[str, Any]:
        return UNKNOWN | {"versions": all_versions()} | self.method.identity(words)

    def with_settings(self, more: Mapping[str, Any]) -> Loaded:
        """With more settings."""
        if not more:
            return self
        changed: Any = self.method
        return Loaded(replace(changed, settings=replace(changed.settings, **more)))

    def with_option(self, name: str, value: Any) -> Loaded:
        """Itself: what was loaded keeps its options."""
        return self


def as_source(method: Any) -> MethodSpec | Loaded:
    """A spec, a method's name, a loaded method, or a function of images and words, behind one interface.

    Raises:
        InputError: something else.
    """
    if isinstance(method, str):
        return MethodSpec(method)
    if isinstance(method, MethodSpec | Loaded):
        return method
    owner = getattr(method, "__self__", None)
    if isinstance(owner, Method) and method == owner.many:
        return Loaded(owner)
    if isinstance(method, Method):
        return Loaded(method)
    if callable(method):
        return Loaded(FunctionMethod(method))
    raise InputError(f"expected a method, a MethodSpec or a function of images and words, got {type(method).__name__}")


def settings_known(kind: type[Method]) -> tuple[str, ...]:
    """The names of a method's settings."""
    return tuple(f.name for f in fields(kind.Settings))

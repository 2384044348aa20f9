"""The contract of a method."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar, Self

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.files.record import all_versions, plain
from segwright.images import as_image
from segwright.methods.base.calls import wrap_calls
from segwright.methods.base.results import Trace
from segwright.models.object_features import object_features
from segwright.presets import NETWORKS, Preset
from segwright.profiles import Profile
from segwright.refine.base import Refiner
from segwright.refine.pipeline import parse_refiners, refine, refiner_settings
from segwright.settings import Branch, Tree, build, settings_tree
from segwright.types import Image, Scores, Segmentation, check_seed
from segwright.weights import Networks, load, split_companions

Progress = Callable[[str, int, int], object]  # (word, pictures made, of so many)


@dataclass(frozen=True)
class NoSettings:
    """Of a method that has none."""

    refine: None = None
    seed: int = 0


class Method(ABC):
    """What finds words in images. Subclasses may be in other packages (entry points ``segwright.methods``).

    Attributes:
        name: by which it is found.
        paper: where it comes from.
        protocol: how its paper measured, a key of ``segwright.evaluation.protocols.PAPERS``; None: no paper did.
        Settings: the frozen dataclass of its settings, ``refine`` and ``seed`` among them; all have defaults.
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
        wrap_calls(cls)

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


def settings_known(kind: type[Method]) -> tuple[str, ...]:
    """The names of a method's settings."""
    return tuple(f.name for f in fields(kind.Settings))

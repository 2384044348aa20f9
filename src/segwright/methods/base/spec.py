"""A method by name and settings, which each process loads for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segwright.errors import InputError
from segwright.methods.base.contract import Method
from segwright.methods.base.loaded import Loaded
from segwright.methods.base.wrappers import FunctionMethod, Reduced, Then
from segwright.presets import CHOICES, find_preset
from segwright.profiles import find_profile
from segwright.refine.base import Refiner
from segwright.refine.pipeline import changed_row
from segwright.settings import merged, read_settings
from segwright.weights import LOADING, Networks, load, pick_device, split_companions


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

    def unknown(self, words: Sequence[str]) -> list[str]:
        """The words that the preset's networks were not taught, where it says what they were."""
        networks, _, _ = self.needs(words=True)
        return networks.preset.defaults.unknown(words)

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

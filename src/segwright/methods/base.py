"""A method by name and settings, so that every worker can load its own; and refiners with settings put behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from segwright.errors import InputError
from segwright.files.record import plain
from segwright.methods import METHODS, find_method
from segwright.presets import default_preset, find_preset
from segwright.refine import CRFSettings, G4SegSettings
from segwright.refine.pipeline import parse_refiners, refiners
from segwright.types import Image, Segmentation
from segwright.weights import pick_device

PLACES = ("bank", "progress")  # extras on which no result depends
SETTINGS: dict[str, Callable[..., Any]] = {"g4seg": G4SegSettings, "crf": CRFSettings}  # refiners that take one dataclass
Steps = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class MethodSpec:
    """What ``find_method(name).load`` is to be called with. Light; can be pickled.

    Attributes:
        name: one of ``METHODS``.
        preset: as for ``segwright.weights.load``.
        device: as for ``segwright.weights.load``.
        dtype: as for ``segwright.weights.load``.
        settings: those of the method's ``Settings`` that were chosen; the others keep their defaults.
        extras: what the method's ``load`` takes beside its settings (OVDiff: bank, support, stuff).
        then: refiners put behind the method, each with its own settings, as (("g4seg", {"timestep": 400}), ("crf", {})).
    """

    name: str
    preset: str | None = None
    device: str | None = None
    dtype: str = "float32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    then: Steps = ()

    def __post_init__(self) -> None:
        foreign = sorted(set(self.settings) - set(self.known))
        if foreign:
            raise InputError(f"{self.name} has no setting {', '.join(foreign)}; it has {', '.join(self.known)}")
        if self.then:
            parse_refiners(",".join(name for name, _ in self.then))

    @property
    def known(self) -> tuple[str, ...]:
        """The names of the method's settings."""
        return tuple(f.name for f in fields(find_method(self.name).Settings))

    def load(self) -> Any:
        """The method with its networks, refiners behind it.

        Raises:
            InputError: as the method's ``load``.
            WeightsError: as the method's ``load``.
        """
        loaded = find_method(self.name).load(self.preset, self.device, self.dtype, **self.extras, **self.settings)
        return Refined(loaded, self.then) if self.then else loaded

    def facts(self) -> dict[str, Any]:
        """What the result depends on, all defaults spelt out, without loading a network.

        Raises:
            InputError: unusable settings, or an unknown device.
            WeightsError: an unknown preset.
        """
        preset = find_preset(default_preset() if self.preset is None else self.preset)
        return {
            "method": self.name,
            "preset": preset.name,
            "device": pick_device(self.device).type,
            "dtype": self.dtype,
            "settings": asdict(find_method(self.name).Settings(**self.settings)),
            "extras": {name: plain(value) for name, value in self.extras.items() if name not in PLACES},
            "then": [[name, dict(settings)] for name, settings in self.then],
        }


@dataclass(frozen=True)
class Refined:
    """A method with refiners behind it; each result's scores go through them, and its labels are the argmax again."""

    method: Any
    then: Steps

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """As the method's own ``many``.

        Raises:
            InputError: a result without scores, which cannot be refined.
        """
        steps = [self._step(name, settings) for name, settings in self.then]
        return [self._refined(i, r, steps) for i, r in zip(images, self.method.many(images, words), strict=True)]

    def _step(self, name: str, settings: Mapping[str, Any]) -> Callable[..., Any]:
        known = refiners(self.method.networks)[name]
        given = {"settings": SETTINGS[name](**settings)} if settings and name in SETTINGS else dict(settings)
        return lambda image, scores: known(image, scores, **given)

    def _refined(self, image: Image, result: Segmentation, steps: Sequence[Callable[..., Any]]) -> Segmentation:
        scores = result.scores
        if scores is None:
            raise InputError("a method without scores cannot be refined; leave the refiners out")
        for step in steps:
            if len(scores.labels) > 1:
                scores = step(image, scores)
        return replace(result, labels=scores.argmax().cpu().numpy(), scores=scores)


def facts_of(method: Any) -> dict[str, Any]:
    """``MethodSpec.facts`` of a method that is loaded already, or of anything else that has ``many``."""
    settings = getattr(method, "settings", None)
    networks = getattr(method, "networks", None)
    return {
        "method": name_of(method),
        "preset": networks.preset.name if networks is not None else None,
        "device": networks.device.type if networks is not None else None,
        "dtype": str(networks.dtype).removeprefix("torch.") if networks is not None else None,
        "settings": asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else {},
        "extras": {},
        "then": [],
    }


def name_of(method: Any) -> str:
    """The name in ``METHODS``, else the class's."""
    kind = type(method)
    return next((name for name, home in METHODS.items() if home == (kind.__module__, kind.__name__)), kind.__name__)


def with_settings(method: Any, extra: Mapping[str, Any]) -> Any:
    """The method with some more settings: a spec or a loaded one. Without any, itself."""
    if not extra:
        return method
    if isinstance(method, MethodSpec):
        return replace(method, settings={**method.settings, **extra})
    return replace(method, settings=replace(method.settings, **extra))


def settings_known(method: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of all settings of a spec or a loaded method, and of those that were chosen (differ from the default)."""
    if isinstance(method, MethodSpec):
        return method.known, tuple(method.settings)
    settings = getattr(method, "settings", None)
    if not is_dataclass(settings) or isinstance(settings, type):
        return (), ()
    default = type(settings)()
    names = tuple(f.name for f in fields(settings))
    return names, tuple(n for n in names if getattr(settings, n) != getattr(default, n))

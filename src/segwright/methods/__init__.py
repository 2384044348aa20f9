"""One file a method, or a folder where it has parts; all keep the contract of ``segwright.methods.base.Method``."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segwright.methods.base import Method

GROUP = "segwright.methods"  # entry points of other packages
DEFAULT = "best"  # of the command line and the page
# Name -> module and class; the modules are heavy, so each is imported when it is asked for.
METHODS = {
    "freeseg-diff": ("segwright.methods.freeseg_diff.method", "FreeSegDiff"),
    "ovdiff": ("segwright.methods.ovdiff.method", "OVDiff"),
    "maskclip": ("segwright.methods.maskclip", "MaskCLIP"),
    "sclip": ("segwright.methods.sclip", "SCLIP"),
    "diffsegmenter": ("segwright.methods.diffsegmenter", "DiffSegmenter"),
    "groupvit": ("segwright.methods.groupvit", "GroupViT"),
    "cliper": ("segwright.methods.cliper.method", "CLIPer"),
    "iseg": ("segwright.methods.iseg.method", "ISeg"),
    "best": ("segwright.methods.best.method", "Best"),
    "clip-es": ("segwright.methods.clip_es", "CLIPES"),
}


def list_methods() -> tuple[str, ...]:
    """Ours, then those of other packages."""
    return (*METHODS, *sorted(point.name for point in entry_points(group=GROUP) if point.name not in METHODS))


def find_method(name: str) -> type[Method]:
    """A method's class, with its settings as ``Settings``.

    Args:
        name: of ``METHODS``, of another package's entry point, or "package.module:Class".

    Raises:
        InputError: there is none of that name, or it cannot be imported, or it is no ``Method``.
    """
    from segwright.errors import InputError
    from segwright.methods.base import Method

    if name in METHODS:
        module, kind = METHODS[name]
    else:
        found = next((point.value for point in entry_points(group=GROUP) if point.name == name), name)
        module, colon, kind = found.partition(":")
        if not colon:
            raise InputError(f"method must be one of {', '.join(list_methods())}, or package.module:Class, got {name!r}")
    try:
        method: Any = getattr(import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the method {name!r} cannot be imported ({error})") from error
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"{module}:{kind} is no segwright.methods.base.Method; see CONTRIBUTING for the contract")
    return method


def load_method(
    name: str,
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    *,
    profile: str | None = None,
    **settings: Any,
) -> Method:
    """A method with a preset's networks, each read and fetched when it is first used.

    Args:
        name: as for ``find_method``.
        preset: a name or a folder; the profile's, else $SEGWRIGHT_PRESET, else sd15, if None.
        device: "cpu", "cuda", "mps"; the best there is if None.
        dtype: "float32", "bfloat16" or "float16".
        profile: "paper" or "published": networks and settings as the method's paper or its published code has them, where
            nothing else is given.
        settings: of the method's ``Settings``, its ``options`` (OVDiff: bank, support, stuff), and single networks
            (clip="clip-b16"), and ``fast``: less work for almost the same result (``segwright.presets.faster``).

    Raises:
        InputError: no such method, profile, device, dtype, setting or value.
        WeightsError: no such preset, or one without a network that the method needs.
    """
    from segwright.methods.base import with_profile

    kind = find_method(name)
    chosen, given = with_profile(kind, profile, preset, settings)
    return kind.load(chosen, device, dtype, **given)

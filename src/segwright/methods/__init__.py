"""One file a method, all with one shape: ``load(preset, device, dtype, **settings)``, then call it with a photo and words."""

from importlib import import_module
from typing import Any

# The command line's name -> module and class; the modules are heavy, so each is imported when it is asked for.
METHODS = {
    "freeseg-diff": ("segwright.methods.freeseg_diff.method", "FreeSegDiff"),
    "ovdiff": ("segwright.methods.ovdiff.method", "OVDiff"),
    "maskclip": ("segwright.methods.maskclip", "MaskCLIP"),
    "sclip": ("segwright.methods.sclip", "SCLIP"),
    "diffsegmenter": ("segwright.methods.diffsegmenter", "DiffSegmenter"),
    "groupvit": ("segwright.methods.groupvit", "GroupViT"),
    "cliper": ("segwright.methods.cliper.method", "CLIPer"),
    "iseg": ("segwright.methods.iseg.method", "ISeg"),
    "clip-es": ("segwright.methods.clip_es", "CLIPES"),
}


def find_method(name: str) -> Any:
    """The class of a method of ``METHODS``. Its ``Settings`` is the dataclass of its settings.

    Raises:
        InputError: there is none of that name.
    """
    from segwright.errors import InputError

    if name not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
    module, kind = METHODS[name]
    return getattr(import_module(module), kind)

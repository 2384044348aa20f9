"""Where OVDiff's prototypes lie when no bank is named, and the networks that they are made with."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from segwright.methods.ovdiff.support import SupportSettings, prepare
from segwright.presets import default_preset, find_preset
from segwright.weights import Networks, load


def ovdiff_networks(
    preset: str | os.PathLike[str] | None = None, device: str | None = None, dtype: str = "float32", **companions: Any
) -> Networks:
    """A preset's networks, with CLIP ViT-B/16 where they come from the hub (published code)."""
    from_hub = bool(find_preset(default_preset() if preset is None else preset).parts)
    return load(preset, device, dtype, **({"clip": "clip-b16"} if from_hub else {}) | companions)


def banks_folder() -> Path:
    """What ``SEGWRIGHT_BANKS`` says, else a folder in the user's cache."""
    root = os.environ.get("SEGWRIGHT_BANKS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "segwright", "banks"
    )
    return Path(root).expanduser()


def default_bank(networks: Networks, support: SupportSettings) -> Path:
    """Where prototypes lie when no bank is named: one folder for each preset and way to make them."""
    prepare(networks, support)  # the identity fetches the diffusion model, and would do so alone
    about = json.dumps([networks.identity("diffusion"), str(networks.dtype), support.described(networks)], sort_keys=True)
    name = networks.preset.name if networks.preset.parts else Path(networks.preset.name).name
    return banks_folder() / f"{name}-{hashlib.sha256(about.encode()).hexdigest()[:10]}"

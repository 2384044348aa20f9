"""OVDiff as its paper reads, and as its published code runs."""

from __future__ import annotations

from segwright.profiles import Profile
from segwright.words.stuff import published_stuff

_CODE = "published code"
_VALUES = {
    "preset": ("sd15", "Sec. 4.1; published code: stable-diffusion-v1-5"),
    "clip": ("clip-b16", "Sec. 4.1; published code: ViT-B/16"),
    "extractors": (("sd", "clip", "dino"), "Sec. 4.1, Table 2's best"),
    "ensemble": ("mean", "Sec. 4.1; published code"),
    "short_side": (448, _CODE),
    "windows": ((448, 336), _CODE),
    "stride": (224, _CODE),
    "whole": (True, _CODE),
    "candidates": ("prefilter", "Sec. 3.4"),
    "most": (10, "published code: topk"),
    "background": ("prototypes", "Sec. 3.4"),
    "prototypes": ("all", "Sec. 3.3; published code"),
    "stuff_filter": (0.85, "Sec. 3.4; the value is the published code's"),
    "refine": ("pamr", "Table 1's last row"),
    "refine_on": ("cosines", "published code: PAMR on averaged cosines at short side 448"),
    "support.pictures": (32, "Sec. 4.1"),
    "support.batch": (8, _CODE),
    "support.prompt": ("A good picture of a {}", "Sec. 3.2"),
    "support.parts": (32, _CODE),
    "support.proposals": ("maskcut", "stands for CutLER (Sec. 3.3), whose weights are non-commercial"),
    "support.seed": (42, _CODE),
    "stuff": (published_stuff(), "published code's list"),
}
_NOTE = (
    "Not as published: MaskCut in place of CutLER; CLIP's pixels are normalised by its own mean and spread, not ImageNet's; "
    "latents are the encoder's mean, not a sample; k-means sees at most 16,384 cells; DINO and MAE are transformers' copies."
)
PROFILES = {
    name: Profile(
        _VALUES,
        {
            **{
                data: {"names": ("ovdiff", "published code: prompts of ambiguous names")}
                for data in ("ade20k", "context", "context59")
            },
            "coco-object": {"names": ("ovdiff", "published code: prompts of ambiguous names")},
            "coco-stuff": {"names": ("ovdiff", "published code: prompts of ambiguous names")},
        },
        _NOTE,
    )
    for name in ("paper", "published")
}

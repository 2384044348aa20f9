"""FreeSeg-Diff as its paper reads, and as its published code runs."""

from __future__ import annotations

from segwright.profiles import Profile

# The names that the published code has for VOC where no data set is chosen; it has none for the dining table.
VOC_19 = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog", "horse", "motorbike",
    "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_COMMON = {
    "clip": ("clip-b32", "Sec. 4.1; published code: clip-vit-base-patch32"),
    "captioner": ("blip-base", "published code: LAVIS blip_caption base_coco; the paper cites BLIP-2"),
    "clusters": (4, "Sec. 4.4 and Table 6; published code: K from 4 to 4"),
    "features.resolutions": ((16,), "Sec. 4.4, Table 6; published code"),
    "features.size": (32, "Sec. 4.1; published code"),
    "features.timestep": (0, "Sec. 4.1; published code"),
    "background": ((), "Sec. 3.1.3 names every region; published code"),
    "templates": (("{}",), "published code; the paper states no template"),
}
PROFILES = {
    "paper": Profile(
        {
            "preset": ("sd15", "Sec. 4.1"),
            **_COMMON,
            "features.kind": ("resblock", "Sec. 3.1.2: outputs of residual blocks"),
            "candidates": ("paper", "Sec. 3.1.1"),
            "naming": ("paper", "Sec. 3.1.3"),
            "refine": ("crf", "Sec. 3.1.3"),
        },
        {name: {"names": ("freeseg-diff", "published class list")} for name in ("voc", "voc-c")},
        "K is 4 on COCO too (Table 1); 5 is slightly better there (Table 4). The CRF's constants are the published code's.",
    ),
    "published": Profile(
        {
            "preset": ("sd14", "published code: stable-diffusion-v1-4"),
            **_COMMON,
            "features.kind": ("query", "published code: to_q of cross-attention"),
            "features.sample": (True, "published code: latent_dist.sample()"),
            "features.balance": (False, "published code joins A and F as they are"),
            "candidates": ("published", "published code: mean of SD's text tokens, correlation distance, mean of the minima"),
            "naming": ("published", "published code: softmax over all, candidates kept, each with its best region"),
            "fit": ("crop", "published code: CLIPProcessor"),
            "captions": ("published", "published code: LAVIS's defaults"),
            "adjectives": (True, "published code: an adjective and its noun are a keyword"),
            "distractors": (VOC_19, "published code: VOC's names compete"),
            "refine": ("crf", "published code: one CRF a mask"),
        },
        {name: {"names": ("freeseg-diff", "published class list")} for name in ("voc", "voc-c")}
        | {"coco27": {"names": ("freeseg-diff", "published code: regions get COCO's 80 names, then their groups")}},
        "Not as published: k-means is seeded and the best of 10 starts (scikit-learn's default there), nouns come from TextBlob "
        "instead of spaCy, numbers are float32 instead of float16.",
    ),
}

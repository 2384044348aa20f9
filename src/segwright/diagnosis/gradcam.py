"""Grad-CAM of CLIP (Figs. 1 and 2): each word's map, its binary threshold, and what the prompt changes.

Section 3.1: Grad-CAM of the features before the last attention layer, as in CLIP-ES; prompts "a photo of classname". What is
differentiated by default is the word's own logit, from the mean of all patch tokens: on training scenes of preset mini this found
things better than the class token, and better than CLIP-ES's softmax over words and background.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwright.diagnosis.report import NOWRAP, Section, Shot, cut_out, heat_over, table, wide_mask
from segwright.diagnosis.statistics import correlation
from segwright.diagnosis.subject import DiagnoseSettings, Subject
from segwright.files.html import enlarged
from segwright.methods.clip_es import BACKGROUND_25
from segwright.methods.segmenter import background_words
from segwright.models.clip_dense import grad_cam, min_max, patch, pixels
from segwright.types import Image
from segwright.weights import Networks

CELLS = 16  # along the photo's long side (ours; 14 are ViT-B/16's own)
SHOWN = 200  # pixels
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CENTRE = 0.5  # axes of the ellipse that stands for the picture's centre, in sides (best of 0.3 .. 1.5 on training scenes)


def word_cams(networks: Networks, image: Image, words: Sequence[str], prompt: str, score: str = "logit") -> Tensor:
    """(K, h, w) float32 in 0..1: Grad-CAM of each word's logit, or of its share in a softmax with background words (CLIP-ES)."""
    clip = networks.clip
    scale = CELLS / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) * patch(clip) for side in image.shape[:2])
    rivals = background_words(None, networks, BACKGROUND_25, words) if score == "softmax" else ()
    seen, texts = pixels(clip, image, (height, width)), clip.embed_texts((*words, *rivals), (prompt,))
    return min_max(grad_cam(clip, seen, texts, range(len(words)), "patches", score=score).maps[0])


def centre(size: tuple[int, int], share: float = CENTRE) -> NDArray[np.bool_]:
    """(H, W): a centred ellipse whose axes are ``share`` of the sides; what one would guess without looking."""
    y, x = (np.linspace(-1, 1, side) for side in size)
    return np.asarray(y[:, None] ** 2 + x[None] ** 2 <= share**2)


def section(networks: Networks, subject: Subject, settings: DiagnoseSettings) -> Section:
    """Figs. 1 and 2 for one photo."""
    maps = {prompt: word_cams(networks, subject.image, subject.words, prompt, settings.score) for prompt in settings.prompts}
    first = maps[settings.prompts[0]]
    parts: list[str | Shot] = [
        f"<p>Where CLIP's score of a word comes from: Grad-CAM on the features before the last attention layer, over the photo, "
        f"and the same above {settings.threshold:g} of its range, for {len(settings.prompts)} prompts.</p>",
        Shot("photo", enlarged(subject.image, SHOWN), "photo"),
    ]
    rows: list[list[object]] = []
    for i, word in enumerate(subject.words):
        parts.append(f"<h3>{escape(word)}</h3>")
        for prompt, found in maps.items():
            text = prompt.replace("{}", word)
            mask = wide_mask(found[i], _size(subject.image), settings.threshold)
            name = f"{word}-{settings.prompts.index(prompt)}"
            parts.append(NOWRAP)
            parts.append(Shot(f"{name}-map", heat_over(subject.image, found[i], SHOWN), f"“{text}”"))
            parts.append(Shot(f"{name}-mask", cut_out(subject.image, mask, SHOWN), f"“{text}” above {settings.threshold:g}"))
            parts.append("</span>")
            hit = _iou(mask, subject.masks[word]) if word in subject.masks else float("nan")
            rows.append([word, text, correlation(found[i], first[i]), float(mask.mean()), hit])
    head = ["word", "prompt", "correlation with the first prompt's map", "share of the photo", "IoU with the truth"]
    return Section("gradcam", "CLIP: Grad-CAM (Figs. 1 and 2)", (*parts, table(head, rows)))


def measure(networks: Networks, subject: Subject, settings: DiagnoseSettings) -> dict[str, Any]:
    """Pixels hit and joined, word by word: for each prompt at each threshold, and for the picture's centre."""
    size, record = _size(subject.image), {}
    for prompt in settings.prompts:
        maps = F.interpolate(
            word_cams(networks, subject.image, subject.words, prompt, settings.score)[None], size, mode="bilinear"
        )[0]
        stretched = min_max(maps).cpu().numpy()
        for threshold in THRESHOLDS:
            record[f"{prompt} > {threshold}"] = _counts(subject, [m > threshold for m in stretched])
    record["centre"] = _counts(subject, [centre(size)] * len(subject.words))
    record["everything"] = _counts(subject, [np.ones(size, bool)] * len(subject.words))
    return record


def miou(records: Sequence[dict[str, Any]], row: str) -> float:
    """Mean over words of intersection over union, both summed over all photos."""
    hit: dict[str, int] = {}
    joined: dict[str, int] = {}
    for record in records:
        for word, (both, either) in record[row].items():
            hit[word], joined[word] = hit.get(word, 0) + both, joined.get(word, 0) + either
    return float(np.mean([hit[w] / max(1, joined[w]) for w in hit]))


def _counts(subject: Subject, masks: Sequence[NDArray[np.bool_]]) -> dict[str, list[int]]:
    """word -> pixels in both, pixels in either."""
    pairs = [(w, m, subject.masks[w]) for w, m in zip(subject.words, masks, strict=True) if w in subject.masks]
    return {w: [int((m & t).sum()), int((m | t).sum())] for w, m, t in pairs}


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]

"""One page that shows which prototypes decided OVDiff's result, and the support pictures they came from (Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwright.files.html import Page, enlarged, figure, image_bytes
from segwright.files.overlay import overlay
from segwright.methods.ovdiff.prototypes import INSTANCE, PART, Prototypes
from segwright.methods.ovdiff.steps import Steps
from segwright.methods.ovdiff.support import SIDES, picture_path, read_pictures
from segwright.types import Image, Segmentation

SHOWN = 3  # prototypes a region, and support pictures a part
PROTOTYPES = 64  # maps at once
SMALL = 160  # pixels
NAMES = ("mean of all pictures", "picture", "part")


@dataclass(frozen=True)
class Decision:
    """One prototype's share of a label's region.

    Attributes:
        word: whose prototype it is; for background any of the things'.
        side: "foreground" or "background".
        kind: WHOLE, INSTANCE or PART.
        source: picture or part number.
        where: (H, W) bool at the photo's size.
        share: of the region, 0..1.
    """

    word: str
    extractor: str
    side: str
    kind: int
    source: int
    where: NDArray[np.bool_]
    share: float


def page(image: Image, method: Any, words: Sequence[str] | None = None, title: str = "") -> Page:
    """Segment one photo; the page of its steps."""
    steps = method.steps([image], words)[0]
    result = method.finish(steps)
    regions = "".join(region(steps, result, method, label) for label in np.unique(result.labels).tolist())
    name = title or "photo"
    intro = (
        f"<p>Preset <code>{escape(method.networks.preset.name)}</code>, bank <code>{escape(str(method.bank.folder))}</code>.</p>"
    )
    photo = figure(image_bytes(enlarged(image)), f"{image.shape[1]} x {image.shape[0]} pixels")
    first = body(steps, result, method)
    return Page(f"{name}: OVDiff, step by step", name, f"{intro}{photo}{first}<h2>2. What decided</h2>{regions}")


def body(steps: Steps, result: Segmentation, method: Any) -> str:
    """Before and after refinement, and the pre-filter, as HTML."""
    nearest = Segmentation(steps.words, steps.scores.argmax().cpu().numpy())
    pictures = [
        figure(image_bytes(overlay(steps.image, nearest)), "nearest prototypes"),
        figure(image_bytes(overlay(steps.image, result)), f"after refinement ({method.settings.refine or 'none'})"),
    ]
    return "".join(pictures) + _filter(steps)


def _filter(steps: Steps) -> str:
    """The category pre-filter's scores."""
    head = "<h2>1. Category pre-filter</h2>"
    if steps.filtered is None:
        names = ", ".join(steps.words[label - 1] for label in steps.matching.labels if label)
        return f"{head}<p>Not used. Words that take part: {escape(names) or 'none'}.</p>"
    chosen = {steps.words[label - 1] for label in steps.matching.labels if label}
    things = [w for i, w in enumerate(steps.words) if i not in steps.stuff]
    ranked = sorted(zip(things, steps.filtered.probabilities, strict=True), key=lambda pair: -pair[1])[:10]
    rows = "".join(
        f'<tr><td>{escape(w)}</td><td>{p:.4f}</td><td class="{"kept" if w in chosen else "dropped"}">'
        f"{'takes part' if w in chosen else 'left out'}</td></tr>"
        for w, p in ranked
    )
    prompts = "".join(f"<tr><td><q>{escape(text)}</q></td><td>{fit:.3f}</td></tr>" for text, fit in steps.filtered.prompts)
    limit = 1 / max(1, len(things))
    first = f"<p>Things above {limit:.4f} in a softmax over CLIP's cosines; then the prompt nearest to the photo decides.</p>"
    stuff = ", ".join(steps.words[i] for i in sorted(steps.stuff))
    last = f"<p>Stuff always takes part: {escape(stuff)}.</p>" if stuff else ""
    return f"{head}{first}<table>{rows}</table><table>{prompts}</table>{last}"


def region(steps: Steps, result: Segmentation, method: Any, label: int) -> str:
    """Which prototypes decided one label's pixels, as HTML."""
    word = result.words[label - 1] if label else "background"
    where = np.asarray(result.labels == label)
    if label not in steps.matching.labels:
        return f"<h3>{escape(word)}</h3><p>Nearer to nothing than the threshold.</p>"
    parts = [f"<h3>{escape(word)} ({where.mean():.0%} of the photo)</h3>"]
    for name in steps.matching.sets:
        for decision in decisions(steps, method, label, name, where)[:SHOWN]:
            parts.append(_decision(steps.image, method, decision))
    return "".join(parts)


def decisions(steps: Steps, method: Any, label: int, extractor: str, region: NDArray[np.bool_]) -> list[Decision]:
    """The prototypes that are nearest to the region's pixels, by their share of it; every pixel counts for one."""
    place = steps.matching.labels.index(label)
    owned, owners = steps.matching.sets[extractor][place], steps.matching.owners[place]
    single = [vector[None] for prototypes in owned for vector in prototypes.vectors]
    best, where = None, None
    for start in range(0, len(single), PROTOTYPES):  # at the working size: a map a prototype at the photo's would be gigabytes
        value, index = method.matched(steps.image, extractor, single[start : start + PROTOTYPES]).max(0)
        closer = torch.ones_like(index, dtype=torch.bool) if best is None else value > best
        where = index + start if where is None else torch.where(closer, index + start, where)
        best = value if best is None else torch.maximum(best, value)
    assert where is not None  # a label that takes part has prototypes
    winner = F.interpolate(where[None, None].float(), region.shape, mode="nearest-exact")[0, 0].long().cpu().numpy()
    origin = [(steps.words[o], p, i) for o, p in zip(owners, owned, strict=True) for i in range(len(p.vectors))]
    side = SIDES[0] if label else SIDES[1]
    counts = np.bincount(winner[region], minlength=len(origin))
    found = []
    for i in np.argsort(-counts, kind="stable").tolist():
        if not counts[i]:
            break
        word, prototypes, row = origin[i]
        kind, source = int(prototypes.kinds[row]), int(prototypes.sources[row])
        found.append(Decision(word, extractor, side, kind, source, region & (winner == i), counts[i] / max(1, region.sum())))
    return found


def _decision(image: Image, method: Any, decision: Decision) -> str:
    what = NAMES[decision.kind] + (f" {decision.source}" if decision.kind in (INSTANCE, PART) else "")
    text = f"{decision.extractor}: {decision.word}, {decision.side}, {what}: {decision.share:.0%} of the region"
    shown = [figure(image_bytes(enlarged(spotlight(image, decision.where), SMALL)), text)]
    shown += [figure(image_bytes(enlarged(p, SMALL)), caption) for p, caption in _origins(method, decision)]
    return f"<div>{''.join(shown)}</div>"


def _origins(method: Any, decision: Decision) -> list[tuple[Image, str]]:
    """Support pictures with the places that went into the prototype."""
    folder = method.bank.path(decision.word)
    pictures, _ = read_pictures(folder, method.support.pictures)
    prototypes = getattr(method.prototypes(decision.word), decision.side)[decision.extractor]
    cells = _cells(prototypes, decision)
    sizes = cells.flatten(1).sum(1)
    order = [i for i in sizes.argsort(descending=True, stable=True).tolist() if sizes[i]][:SHOWN]
    return [
        (spotlight(pictures[i], _widened(cells[i], pictures[i])), f"support picture {picture_path(folder, i).name}") for i in order
    ]


def _cells(prototypes: Prototypes, decision: Decision) -> Tensor:
    """(N, h, w) bool: the cells that were averaged."""
    if decision.kind == PART:
        return prototypes.cells == decision.source
    inside = prototypes.cells >= 0
    if decision.kind == INSTANCE:
        only = torch.zeros_like(inside)
        only[decision.source] = inside[decision.source]
        return only
    return inside


def _widened(cells: Tensor, picture: Image) -> NDArray[np.bool_]:
    wide = F.interpolate(cells[None, None].float(), picture.shape[:2], mode="nearest-exact")[0, 0]
    return np.asarray(wide.bool().cpu().numpy())


def spotlight(image: Image, where: NDArray[np.bool_]) -> Image:
    """The picture, dark and grey but for some pixels."""
    dim = image.mean(2, keepdims=True).repeat(3, 2) * 0.3
    return np.where(where[..., None], image, dim).astype(np.uint8)

"""G4Seg (Zhang et al. 2025): a coarse mask refined by what a diffusion model makes of the photo under that mask.

For each class by itself, all others as background: the photo is noised, denoised in one step under the prompt and the mask
(``reconstruction``, ``injection``), and every cell of the result looks for the cell of the photo that it resembles most
(``correspondence``); the foreground probability is mixed with the one found there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import is_out_of_memory
from segwright.models.controlnet import ControlNet
from segwright.models.pixels import as_tensor, resize
from segwright.refine.base import check_pair, check_pairs
from segwright.refine.g4seg.correspondence import difference, nearest, to_grid
from segwright.refine.g4seg.reconstruction import Reconstructor
from segwright.refine.g4seg.settings import SIDE, G4SegSettings
from segwright.refine.soft import is_hard, soften
from segwright.types import Image, Scores
from segwright.weights import Networks

DEFAULT = G4SegSettings()
T = TypeVar("T")


@dataclass(frozen=True)
class Pass:
    """One pass over one photo; ``segwright explain`` shows it.

    Attributes:
        labels: the K classes that were looked at: those that are strongest somewhere and have a pixel to be updated.
        masks: (K, S, S) float32 in 0..1, their coarse masks on the U-Net's square.
        pictures: (K, 3, S, S) float32 in 0..1, the reconstructions; empty without correspondence.
        matches: (K, grid * grid) int64, for each cell of the reconstruction the cell of the photo (Eq. 8).
        before: (M, H, W) float32 scores as they came, each label's own or shares that sum to 1.
        after: (M, H, W) float32 scores after the pass, likewise.
    """

    labels: tuple[int, ...]
    masks: Tensor
    pictures: Tensor
    matches: Tensor
    before: Tensor
    after: Tensor


def g4seg(
    image: Image,
    scores: Scores,
    *,
    model: Networks,
    settings: G4SegSettings = DEFAULT,
    controlnet: ControlNet | None = None,
) -> Scores:
    """Refine scores by semantic correspondence between the photo and its reconstruction under the coarse masks.

    Classes that are strongest nowhere, and pixels whose probability the filter ``certain`` keeps out, stay as they are.
    Each class is updated by itself, then all are compared. With ``compared`` "shares", what a class gains or loses at a pixel is
    taken from or given to background (its complement; where a photo has no background at all, nothing is given to it). The scores
    of pixels that changed are divided by their sum. A pixel without a change keeps its scores bit for bit, so with ``beta`` 1
    nothing changes at all.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (M, H, W), the photo's size. Not modified. A hard mask (0 and 1 only) comes back unchanged under the filter, unless
            the settings soften it.
        model: networks with "diffusion" and "clip".
        controlnet: injects the masks, in place of attention (Table VIII); ``segwright.weights.load_controlnet``.

    Returns:
        Scores of the same words and labels, summing to 1, on the device of ``scores``.

    Raises:
        InputError: image and scores differ in size, or a layer that CLIP does not have.
        WeightsError: networks that cannot be loaded, or a ControlNet for another U-Net.
    """
    check_pair(image, scores)
    if len(scores.labels) < 2:
        return scores
    last: Tensor | None = None
    start = starting_point(scores, settings)
    for done in passes(image, scores, start, model, settings, controlnet=controlnet):
        last = done.after
    return scores if last is None else concluded(scores, start, last)


def g4seg_batch(
    images: Sequence[Image],
    scores: Sequence[Scores],
    *,
    model: Networks,
    settings: G4SegSettings = DEFAULT,
    controlnet: ControlNet | None = None,
) -> list[Scores]:
    """``g4seg`` of many photos, one after the other, so that no photo changes another's result; the classes of each go together.

    Raises:
        InputError: as ``g4seg``; or the lists differ in length.
        WeightsError: as ``g4seg``.
    """
    pairs = check_pairs(images, scores)
    return [g4seg(photo, item, model=model, settings=settings, controlnet=controlnet) for photo, item in pairs]


def starting_point(scores: Scores, settings: G4SegSettings = DEFAULT) -> Tensor:
    """(M, H, W): the scores that the first pass sees, each label's own or shares."""
    values = scores.values.detach()
    if is_hard(values):
        return soften(values, settings.soften)
    return scores.own.detach() if settings.compared == "own" else values


def concluded(scores: Scores, start: Tensor, last: Tensor) -> Scores:
    """Scores that sum to 1 from what the last pass left, (M, H, W); pixels without a change keep theirs."""
    changed = (last != start).any(0)
    shares = last / last.sum(0).clamp(min=1e-12)
    return replace(scores, values=torch.where(changed & (last.sum(0) > 0), shares, scores.values.detach()), totals=last.sum(0))


@torch.no_grad()
def passes(
    image: Image,
    scores: Scores,
    start: Tensor,
    networks: Networks,
    settings: G4SegSettings = DEFAULT,
    *,
    controlnet: ControlNet | None = None,
) -> Iterator[Pass]:
    """Each pass as it is done; none where no class has anything to update.

    Args:
        start: (M, H, W), ``starting_point``.
    """
    values, reconstructor, seen = start, None, None
    for _ in range(settings.passes):
        rows = _to_do(values, settings)
        if not rows:
            return
        if reconstructor is None:
            photo = square(image, networks, settings)
            seen = _features([photo], networks, settings)[0] if settings.correspondence else None
            reconstructor = Reconstructor(
                networks.diffusion, networks.diffusion.encode(photo[None].float() / 255), settings, controlnet
            )
        labels = tuple(scores.labels[r] for r in rows)
        words = [scores.words[label - 1] for label in labels]
        masks = _masks(values, rows, reconstructor.side)
        pictures, matches, moves = _compared(reconstructor, words, masks, values[rows], seen, networks=networks, settings=settings)
        after = updated(values, rows, moves, settings)
        yield Pass(labels, masks, pictures, matches, values, after)
        values = after


def square(image: Image, networks: Networks, settings: G4SegSettings) -> Tensor:
    """(3, S, S) uint8: the photo squeezed to the U-Net's square, on its device."""
    side = settings.side or min(SIDE, networks.diffusion.image_size)
    return resize(as_tensor(image)[None].to(networks.diffusion.device), side, "bicubic")[0]


def updated(values: Tensor, rows: Sequence[int], moves: Tensor, settings: G4SegSettings) -> Tensor:
    """Eq. 9 with the certainty filter.

    Args:
        values: (M, H, W) probabilities; with ``compared`` "shares" they sum to 1, and still do.
        rows: which K rows are refined.
        moves: (K, H, W), S[delta] - S.
    """
    chosen = values[rows]
    step = (1 - settings.beta) * moves
    if settings.certain is not None:
        low, high = settings.certain
        step = torch.where((chosen >= low) & (chosen <= high), step, torch.zeros_like(step))
    out = values.clone()
    out[rows] = (chosen + step).clamp(min=0)
    if settings.compared == "own":
        return out
    if bool((values[0] > 0).any()):
        out[0] = (values[0] - step.sum(0)).clamp(min=0)
    total = out.sum(0)
    touched = (step != 0).any(0) & (total > 0)
    return torch.where(touched, out / total.clamp(min=1e-12), values)


def _to_do(values: Tensor, settings: G4SegSettings) -> list[int]:
    """Rows of classes that are strongest somewhere and have a pixel in the filter's range."""
    strongest = set(values.argmax(0).unique().tolist())
    low, high = settings.certain or (0.0, 1.0)
    return [r for r in range(1, len(values)) if r in strongest and bool(((values[r] >= low) & (values[r] <= high)).any())]


def _masks(values: Tensor, rows: Sequence[int], side: int) -> Tensor:
    """(K, S, S) float32: where each class is strongest, resized by area."""
    hard = values.argmax(0) == torch.tensor(rows, device=values.device)[:, None, None]
    return F.interpolate(hard[None].float(), (side, side), mode="area")[0]


def _compared(
    reconstructor: Reconstructor, words: list[str], masks: Tensor, chosen: Tensor, seen: Tensor | None, *, networks: Networks,
    settings: G4SegSettings,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Pictures (K, 3, S, S), matches (K, N) and S[delta] - S, (K, H, W), of all classes."""
    grid = settings.grid
    if seen is None:
        maps = torch.cat(in_blocks(len(words), settings.batch, lambda s: reconstructor.attention(words[s], masks[s], grid)))
        small = F.interpolate(chosen[None], (grid, grid), mode="area")[0]
        gap = maps.view_as(small).to(small) - small
        moves = F.interpolate(gap[None], tuple(chosen.shape[1:]), mode="bilinear", align_corners=False)[0]
        return masks.new_empty(0), masks.new_empty(0, dtype=torch.long), moves

    def work(block: slice) -> tuple[Tensor, Tensor]:
        made = reconstructor(words[block], masks[block])  # not rounded: injection may move it by less than a level of 256
        found = _features(made, networks, settings)
        return made, torch.stack([nearest(seen, one, settings.reach) for one in found])

    parts = in_blocks(len(words), settings.batch, work)
    matches = torch.cat([p[1] for p in parts]).to(chosen.device)
    return torch.cat([p[0] for p in parts]), matches, difference(chosen, matches, grid)


def _features(pictures: Sequence[Tensor] | Tensor, networks: Networks, settings: G4SegSettings) -> Tensor:
    """(B, C, grid * grid) float32 of CLIP's image tower."""
    side = settings.clip_side or settings.grid * int(networks.clip.model.config.vision_config.patch_size)
    return to_grid(networks.clip.patch_features(pictures, settings.layer, side), settings.grid)


def in_blocks(count: int, batch: int, work: Callable[[slice], T]) -> list[T]:
    """``work`` on consecutive blocks of at most ``batch``; where the memory does not hold a block, on halves of it."""
    done: list[T] = []
    start, size = 0, min(batch, count)
    while start < count:
        try:
            done.append(work(slice(start, min(start + size, count))))
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size = (size + 1) // 2
            continue
        start += size
    return done

"""What the segmenters of G4Seg's tables share: who competes, windows, scores with present labels only, refinement, notes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.files.html import enlarged, figure, image_bytes
from segwright.files.overlay import overlay
from segwright.images import stitch, windows
from segwright.methods.base import Method, mean_scores
from segwright.models.clip_dense import VisionNetwork, min_max, patch, pixels, scaled
from segwright.presets import Preset
from segwright.refine.g4seg.explain import heat
from segwright.refine.pipeline import Row, parse_refiners
from segwright.types import Image, Scores, Segmentation, check_image
from segwright.weights import Networks
from segwright.words.presence import Chosen, check_rule, choose, needed
from segwright.words.synonyms import names_of, split_names
from segwright.words.vocabulary import check_words

LONGEST = 2048  # of a photo's long side, for networks of 224 pixels (mmsegmentation's resizing, which the published codes use)
WINDOWS = 16  # through the network at once
BAND = 1 << 24  # numbers of resized logits at a time
SHOWN = 12  # words a row of a page; the strongest
SIDE = 200  # pixels of a map there

# SCLIP's published class list for VOC: what its class "background" stands for.
BACKGROUND_26 = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail", "fence",
)  # fmt: skip


class Settings(Protocol):
    """What every segmenter's settings have."""

    @property
    def candidates(self) -> str: ...
    @property
    def refine(self) -> Row: ...
    @property
    def seed(self) -> int: ...


def check_settings(settings: Settings) -> None:
    """Refuse an unknown rule or refiner, and words that are no tuple of words.

    Raises:
        InputError: one of them.
    """
    check_rule(settings.candidates)
    parse_refiners(settings.refine)
    for name in ("background", "templates"):
        if isinstance(given := getattr(settings, name, None), str):
            raise InputError(f"{name} must be a tuple of texts, got the text {given!r}; write ({given!r},)")


def background_words(
    given: tuple[str, ...] | None, networks: Networks, published: tuple[str, ...], words: Sequence[str]
) -> tuple[str, ...]:
    """The background words that compete: those given, else the preset's own, else the published; none that is a word itself."""
    own = (networks.preset.defaults.background or published) if given is None else given
    taken = {name.casefold() for word in words for name in names_of(word)}
    return tuple(word for word in own if word.casefold() not in taken)


def prompts(given: tuple[str, ...] | None, networks: Networks, published: tuple[str, ...]) -> tuple[str, ...]:
    """The prompt templates: those given, else the preset's own, else the published."""
    return (networks.preset.defaults.templates or published) if given is None else given


@dataclass(frozen=True)
class Segmenter(Method):
    """Networks and settings that make the coarse scores of one photo after the other."""

    networks: Networks
    settings: Any

    @classmethod
    def asks_for(cls, preset: Preset, settings: Any, words: bool) -> tuple[str, ...]:
        """What it always runs on, and what chooses the words."""
        return (*cls.needs, *needed(settings.candidates, words))

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """Several photos, each by itself: its words, its coarse scores, refinement.

        A photo in which no word is believed to be is background everywhere; ``scores`` does not see it.

        Raises:
            InputError: not photos, or unusable words.
            WeightsError: networks that cannot be loaded.
        """
        photos, vocabulary = [check_image(image) for image in images], None if words is None else check_words(words)
        chosen = choose(self.networks, photos, vocabulary, self.settings.candidates)
        return [self._segmented(photo, its) for photo, its in zip(photos, chosen, strict=True)]

    @abstractmethod
    def scores(self, image: Image, chosen: Chosen) -> Scores:
        """Coarse scores of one photo, for the words chosen."""

    def noted(self, image: Image, chosen: Chosen) -> tuple[Scores, dict[str, Any]]:
        """The coarse scores, and what the method adds to the result's notes."""
        return self.scores(image, chosen), {}

    def _segmented(self, photo: Image, chosen: Chosen) -> Segmentation:
        size = (photo.shape[0], photo.shape[1])
        coarse, added = self.noted(photo, chosen) if chosen.candidates else (all_background(chosen.words, size), {})
        scores = self.refined(photo, coarse)
        notes = {
            "method": self.name,
            "caption": chosen.caption,
            "keywords": [asdict(k) for k in chosen.keywords],
            "candidates": list(chosen.present),
            "dropped": [m.reason for m in chosen.filter.matches if not m.kept] if chosen.filter else [],
            "preset": self.networks.preset.name,
            "settings": asdict(self.settings),
            "seed": self.settings.seed,
            **added,
        }
        labels = scores.argmax().cpu().numpy()
        sure, calibration = mean_scores(coarse, labels), self.networks.calibration(self.name)
        return Segmentation(scores.words, labels, scores, notes, sure, calibration=calibration)


def all_background(words: tuple[str, ...], size: tuple[int, int]) -> Scores:
    """Background everywhere."""
    return Scores(words, (0,), torch.ones(1, *size))


def to_scores(words: tuple[str, ...], labels: Sequence[int], values: Tensor, size: tuple[int, int]) -> Scores:
    """Values of background and labels at any resolution -> scores at the photo's, for the labels that win anywhere.

    Labels are dropped before the resize: a vocabulary of 171 words would need gigabytes for a large photo.

    Args:
        labels: of the rows after the first, ascending.
        values: (1 + K, h, w) not negative; row 0 is background. Cells of all zeros become background.
        size: (H, W).
    """
    values = values.float().clamp(min=0)
    empty = values.sum(0) <= 0
    values = torch.cat([torch.where(empty, 1.0, values[0])[None], values[1:]])
    present = sorted({0, *values.argmax(0).unique().tolist()})
    kept = values[present]
    totals = kept.sum(0)
    wide = resized(kept / totals.clamp(min=1e-12), size).clamp(min=0)
    shares = wide / wide.sum(0).clamp(min=1e-12)
    lost = shares.sum(0) < 0.5  # pixels whose labels all lost before the resize are background
    whole = torch.cat([torch.where(lost, 1.0, shares[0])[None], shares[1:]])
    known = torch.where(lost, 1.0, resized(totals[None], size)[0].clamp(min=0))
    return Scores(words, tuple(0 if row == 0 else labels[row - 1] for row in present), whole, known)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) -> (N, H, W), bilinear."""
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def named(chosen: Chosen) -> tuple[list[str], Tensor]:
    """All names of the words believed to be in a photo, and of each the place of its word among them, (names,) int64."""
    names, owners = split_names(chosen.present)
    return names, torch.tensor(owners, dtype=torch.long)


def by_word(values: Tensor, owners: Tensor, words: int) -> Tensor:
    """(names + P, h, w) -> (words + P, h, w): of a word's names the strongest, then the rows that are no names."""
    if len(owners) == words:
        return values
    index = owners.to(values.device)[:, None, None].expand(-1, *values.shape[1:])
    best = torch.full((words, *values.shape[1:]), -torch.inf, device=values.device, dtype=values.dtype)
    return torch.cat([best.scatter_reduce(0, index, values[: len(owners)], "amax"), values[len(owners) :]])


def sharp_scores(words: tuple[str, ...], labels: Sequence[int], logits: Tensor, size: tuple[int, int], *, count: int) -> Scores:
    """Logits at any resolution -> scores at the photo's: logits are resized first, the softmax is taken afterwards.

    Only labels that win somewhere are kept. A band of rows is done at a time, so that many words on a large photo need no
    more than the scores of those kept.

    Args:
        labels: of the first ``count`` rows, ascending.
        logits: (count + P, h, w); the last P rows are background's, of which the strongest counts.
        size: (H, W).
    """
    down, right = _bilinear(logits.shape[1], size[0], logits), _bilinear(logits.shape[2], size[1], logits)
    rows = max(1, BAND // (len(logits) * size[1]))

    def bands() -> Iterator[tuple[int, Tensor]]:
        for top in range(0, size[0], rows):
            wide = torch.einsum("yh,thw,xw->tyx", down[top : top + rows], logits.float(), right)
            yield top, strongest(wide.softmax(0), count)

    present = sorted({0, *(row for _, band in bands() for row in band.argmax(0).unique().tolist())})
    values, totals = logits.new_empty(len(present), *size, dtype=torch.float32), logits.new_empty(*size, dtype=torch.float32)
    for top, band in bands():
        kept = band[present]
        totals[top : top + rows] = kept.sum(0)
        values[:, top : top + rows] = kept / kept.sum(0).clamp(min=1e-12)
    return Scores(words, tuple(0 if row == 0 else labels[row - 1] for row in present), values, totals)


def _bilinear(cells: int, pixels: int, like: Tensor) -> Tensor:
    """(pixels, cells) weights of torch's bilinear resizing along one side, corners not aligned."""
    eye = torch.eye(cells, device=like.device, dtype=torch.float32)
    return F.interpolate(eye[None], pixels, mode="linear", align_corners=False)[0].T


def strongest(values: Tensor, words: int) -> Tensor:
    """(K + P, h, w) -> (1 + K, h, w): the strongest of the P background words first, then the K words.

    Without background words the first row is zero: every cell gets a word.
    """
    back = values[words:].amax(0, keepdim=True) if len(values) > words else torch.zeros_like(values[:1])
    return torch.cat([back, values[:words]])


def with_background(maps: Tensor, threshold: float) -> Tensor:
    """(K, h, w) in 0..1 -> (1 + K, h, w), background first: ``threshold`` everywhere, or (1 - strongest map)^2 where that is 0.

    Both are in the published codes of iSeg and CLIPer.
    """
    strongest_map = maps.amax(0, keepdim=True)
    back = (1 - strongest_map).clamp(min=0) ** 2 if threshold == 0 else torch.full_like(strongest_map, threshold)
    return torch.cat([back, maps])


def fitted(clip: VisionNetwork, image: Image, short: int) -> tuple[int, int]:
    """(height, width) with the short side at ``short`` (a paper's size, for 224 pixels) and the long one at most ``LONGEST``."""
    height, width = image.shape[:2]
    scale = min(scaled(clip, short) / min(height, width), scaled(clip, LONGEST) / max(height, width))
    return max(patch(clip), round(height * scale)), max(patch(clip), round(width * scale))


def sliding(
    clip: VisionNetwork, image: Image, short: int, window: int, stride: int, *, logits_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """(N, h, w): logits averaged over overlapping windows of the resized photo (``fitted``).

    Args:
        short: the photo's short side in pixels as in a paper, for a network of 224 pixels; scaled to this one.
        window: a window's side, likewise.
        stride: from window to window, likewise.
        logits_of: normalised windows (n, 3, y, x) -> logits (n, N, y', x'), resized to the windows.

    Raises:
        InputError: stride above window.
    """
    size = fitted(clip, image, short)
    seen = pixels(clip, image, size)
    places = windows(*size, scaled(clip, window), scaled(clip, stride))
    cut = (seen[:, :, y : y + h, x : x + w] for y, x, h, w in places)
    parts = [part for batch in _batches(list(cut)) for part in _at(logits_of(batch), batch)]
    return stitch(parts, places, size)


def _batches(cut: list[Tensor]) -> Iterator[Tensor]:
    for i in range(0, len(cut), WINDOWS):
        yield torch.cat(cut[i : i + WINDOWS])


def _at(logits: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(logits, (like.shape[2], like.shape[3]), mode="bilinear", align_corners=False)


def check_sizes(**sizes: int) -> None:
    """Refuse sizes below 1.

    Raises:
        InputError: one of them.
    """
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} must be at least 1, got {size}")


def word_steps(
    image: Image, method: Segmenter, words: Sequence[str] | None, steps: Callable[[Image, Chosen], tuple[str, Scores]]
) -> str:
    """What a segmenter's page shows, as HTML: its photo and words, what ``steps`` shows, the result.

    Args:
        steps: photo and its words -> the steps' HTML and the coarse scores; not called where no word is believed.
    """
    photo, vocabulary = check_image(image), None if words is None else check_words(words)
    chosen = choose(method.networks, [photo], vocabulary, method.settings.candidates)[0]
    preset = escape(method.networks.preset.name)
    intro = f"<p>Preset <code>{preset}</code>, seed {method.settings.seed}.</p>{_photo(photo)}{_words(chosen)}"
    if not chosen.candidates:
        return f"{intro}<p>No word is left: all is background.</p>"
    shown, coarse = steps(photo, chosen)
    return f"{intro}{shown}{_result(photo, coarse, method)}"


def maps_row(words: Sequence[str], maps: Tensor, order: Sequence[int], notes: Sequence[str] | None = None) -> str:
    """Figures of (K, h, w) maps, each stretched to its own range, of the words at ``order``."""
    parts = []
    for i in list(order)[:SHOWN]:
        note = f"<br>{notes[i]}" if notes else ""
        picture = image_bytes(enlarged(heat(min_max(maps[i])), SIDE))
        parts.append(figure(picture, f"<b>{escape(words[i])}</b>{note}", safe=True))
    more = f"<p>The {SHOWN} strongest of {len(order)} words.</p>" if len(order) > SHOWN else ""
    return more + "".join(parts)


def _photo(photo: Image) -> str:
    return figure(image_bytes(enlarged(photo)), f"{photo.shape[1]} x {photo.shape[0]} pixels")


def _words(chosen: Chosen) -> str:
    caption = f"<p>Caption: <q>{escape(chosen.caption)}</q></p>" if chosen.caption is not None else "<p>No caption was needed.</p>"
    names = escape(", ".join(chosen.present) or "none")
    return f"<h2>1. Words</h2>{caption}<p>Taking part: <b>{names}</b>, of {len(chosen.words)} words.</p>"


def _result(photo: Image, coarse: Scores, method: Segmenter) -> str:
    how = method.settings.refine
    before = figure(image_bytes(overlay(photo, _segmentation(coarse))), "the result" if not how else "before refinement")
    if not how:
        return f"<h2>Result</h2>{before}"
    after = _segmentation(method.refined(photo, coarse))
    return f"<h2>Result</h2>{before}{figure(image_bytes(overlay(photo, after)), f'after refinement ({how})')}"


def _segmentation(scores: Scores) -> Segmentation:
    return Segmentation(scores.words, scores.argmax().cpu().numpy(), scores)

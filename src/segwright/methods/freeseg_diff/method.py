"""FreeSeg-Diff (Corradini et al. 2024): caption -> words; diffusion features -> regions; CLIP names each region.

Figure 2 of the paper is ``FreeSegDiff.steps``; the options that the paper does not have are off by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.methods.base import Method, Trace
from segwright.methods.freeseg_diff import explain
from segwright.methods.freeseg_diff.naming import Named, keep_best_region, name_regions, paint
from segwright.methods.freeseg_diff.sharpen import sharpen
from segwright.methods.freeseg_diff.steps import Steps
from segwright.models.diffusion import FeatureSettings
from segwright.presets import Preset
from segwright.refine import CRF, G4Seg
from segwright.refine.pipeline import Row, parse_refiners
from segwright.regions.kmeans import CLUSTERS, RESTARTS, Clustering, kmeans
from segwright.types import Image, Segmentation, check_image
from segwright.weights import Networks
from segwright.words.presence import BACKGROUND, Chosen, choose, needed
from segwright.words.vocabulary import check_words

SOFT = 0.05  # of the photo's sides: k-means cells say no more of an outline; one-hot scores would leave G4Seg nothing to do
BACKBONES = ("diffusion", "clip", "vit", "rgb")
RULES = ("paper", "reference", "none")


@dataclass(frozen=True)
class FreeSegDiffSettings:
    """Defaults: the paper's.

    Attributes:
        clusters: K of k-means (Sec. 4.4; Tables 4 and 6: 4 for VOC, 5 for COCO).
        restarts: of k-means; the best is kept (ours: the paper states none, and a single one lands in local optima).
        features: what is taken from the U-Net; None: the preset's own (Secs. 3.1.2 and 4.1, Table 6).
        prompt: "empty" (published code; the paper does not say), or "caption" to condition the U-Net on the photo's caption.
        backbone: "diffusion", or instead of it (Table 3) "clip", "vit" (ViT or DINOv2, as loaded), or "rgb", raw colours.
        candidates: how keywords pick classes: "paper" (Sec. 3.1.1), "reference" (the published implementation's rule),
            "none": every word competes (Table 2's baseline).
        templates: prompts for words; the published implementation uses bare names.
        refine: "crf", "pamr" (Table 7), "g4seg", several joined by commas, or None.
        background: prompts that compete with the nouns when no words are given; what is nearest to one of them stays
            unlabelled (ours: for ground that no noun of the caption names). The paper names every region; give () for that.
        restrict: only candidates compete for a region (the published implementation); the paper lets all words compete
            and leaves a region unlabelled if the nearest is no candidate.
        best_region: each word keeps its most probable region only (the published implementation).
        crop: CLIP sees the region's box, not the whole frame as in the paper.
        smooth: region outlines from interpolated features, not from cells as in the paper.
        sharpen_first: regions are sharpened by a CRF and split into connected parts before they are named (our variant; the
            paper's order is False).
        seed: of k-means and of the diffusion noise (ours: 0, as any other; the published code sets none).
    """

    clusters: int = CLUSTERS
    restarts: int = RESTARTS
    features: FeatureSettings | None = field(default=None, metadata={"preset": "features"})
    prompt: str = "empty"
    backbone: str = "diffusion"
    candidates: str = "paper"
    templates: tuple[str, ...] = ("{}",)
    refine: Row = "crf"
    background: tuple[str, ...] = BACKGROUND
    restrict: bool = False
    best_region: bool = False
    crop: bool = False
    smooth: bool = False
    sharpen_first: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("prompt", self.prompt, ("empty", "caption")),
            ("backbone", self.backbone, BACKBONES),
            ("candidates", self.candidates, RULES),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        parse_refiners(self.refine)
        if self.clusters < 1 or self.restarts < 1:
            raise InputError(f"clusters and restarts must be at least 1, got {self.clusters} and {self.restarts}")


@dataclass(frozen=True)
class FreeSegDiff(Method):
    """The method with its networks.

    >>> method = FreeSegDiff.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa"])
    """

    networks: Networks
    settings: FreeSegDiffSettings = field(default_factory=FreeSegDiffSettings)
    name: ClassVar = "freeseg-diff"
    absent_words: ClassVar = (
        "every region takes the nearest word that the caption's nouns stand for, however far from it; no word is doubted"
    )
    paper: ClassVar = "FreeSeg-Diff (Corradini et al. 2024)"
    protocol: ClassVar = "per-image"
    Settings: ClassVar = FreeSegDiffSettings
    needs: ClassVar = ("clip",)
    # Where regions are hard: one CRF a label (the published code), and G4Seg on softened outlines.
    refiners: ClassVar = {"crf": CRF.of("freeseg-diff", binary=True), "g4seg": G4Seg(soften=SOFT)}

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """Several photos, each independent of the others, batched through every network."""
        return [self.finish(steps) for steps in self.steps(images, words)]

    def steps(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Steps]:
        """Everything up to the coarse scores (Fig. 2 without its last step)."""
        images = [check_image(image) for image in images]
        vocabulary = None if words is None else check_words(words)
        chosen = self.choose(images, vocabulary)
        found = self.regions(images, chosen)
        named = self.names(images, [regions for _, _, regions in found], chosen)
        rows = zip(images, chosen, found, named, strict=True)
        return [self._painted(i, c, *regions, named=names) for i, c, regions, names in rows]

    def regions(self, images: Sequence[Image], chosen: Sequence[Chosen]) -> list[tuple[Tensor, Clustering, Tensor]]:
        """Features, clusters and regions of each photo; no word changes them."""
        features = self.features(images, chosen)
        clusterings = kmeans(features, self.settings.clusters, self.settings.restarts, seed=self.settings.seed)
        return [(f, c, self.outline(i, c)) for i, f, c in zip(images, features, clusterings, strict=True)]

    def choose(self, images: Sequence[Image], vocabulary: tuple[str, ...] | None) -> list[Chosen]:
        """Captions -> keywords -> the words that are believed to be in each photo (Sec. 3.1.1)."""
        settings = self.settings
        return choose(
            self.networks, images, vocabulary, settings.candidates, settings.background, captions=settings.prompt != "empty"
        )

    def features(self, images: Sequence[Image], chosen: Sequence[Chosen]) -> Tensor:
        """(B, C, h, w) float32 of all photos (Sec. 3.1.2; other backbones: Table 3)."""
        networks, settings = self.networks, self.feature_settings
        if self.settings.backbone == "clip":
            return networks.clip.patch_features(images)
        if self.settings.backbone == "vit":
            return networks.vit.features(images)
        pixels = networks.diffusion.pixels(images)
        if self.settings.backbone == "rgb":
            return torch.nn.functional.adaptive_avg_pool2d(pixels, settings.size)
        prompts = [c.caption or "" for c in chosen] if self.settings.prompt == "caption" else None
        return networks.diffusion.features(pixels, settings, prompts, self.settings.seed)

    @property
    def feature_settings(self) -> FeatureSettings:
        return self.settings.features or self.networks.preset.features

    def outline(self, image: Image, clustering: Clustering) -> Tensor:
        """Regions at the photo's size, (H, W) int64: nearest neighbour (Sec. 4.1), or one of our own two ways."""
        if self.settings.sharpen_first:
            return sharpen(image, clustering)
        size = (image.shape[0], image.shape[1])
        regions = clustering.soft(size) if self.settings.smooth else clustering.nearest(size)
        return regions.labels

    def names(self, images: Sequence[Image], regions: Sequence[Tensor], chosen: Sequence[Chosen]) -> list[list[Named]]:
        """The nearest word of every region of every photo, all in one batch of CLIP (Sec. 3.1.3)."""
        clip, settings = self.networks.clip, self.settings
        seen = self._seen(images, regions)
        named = []
        for vectors, c in zip(seen, chosen, strict=True):
            if not c.words:
                named.append([Named(0, -1, ())] * len(vectors))
                continue
            texts = torch.cat([clip.embed_texts(c.words, settings.templates), clip.embed_texts(c.prompts)])
            named.append(
                name_regions(vectors, texts, (*c.words, *c.prompts), c.candidates, clip.logit_scale, restrict=settings.restrict)
            )
        return named

    def _seen(self, images: Sequence[Image], regions: Sequence[Tensor]) -> Sequence[Tensor]:
        masks = [torch.nn.functional.one_hot(r).permute(2, 0, 1).bool() for r in regions]
        return self.networks.clip.embed_masked(images, masks, crop=self.settings.crop)

    def _painted(
        self, image: Image, chosen: Chosen, features: Tensor, clustering: Clustering, regions: Tensor, *, named: list[Named]
    ) -> Steps:
        labels = [n.label for n in named]
        if self.settings.best_region:
            labels = keep_best_region(named, [n.ranking[0][1] if n.ranking else 0.0 for n in named])
        scores = paint(regions, labels, chosen.words)
        return Steps(image, chosen, features, clustering, regions, tuple(named), tuple(labels), scores)

    def finish(self, steps: Steps) -> Segmentation:
        """Refine the coarse scores and take the strongest label (Sec. 3.1.3, Table 7)."""
        scores = self.refined(steps.image, steps.scores)
        return Segmentation(scores.words, scores.argmax().cpu().numpy(), scores, self._notes(steps))

    @classmethod
    def asks_for(cls, preset: Preset, settings: FreeSegDiffSettings, words: bool) -> tuple[str, ...]:
        """The backbone (raw colours come through the diffusion model's preprocessing), CLIP, and what chooses the words."""
        backbone = {"clip": "clip", "vit": "vit"}.get(settings.backbone, "diffusion")
        return (*cls.needs, backbone, *needed(settings.candidates, words, settings.prompt != "empty"))

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image and keep its steps."""
        steps = self.steps([image], words)[0]
        result = self.finish(steps)
        region = partial(explain.regions_of, steps, result)
        return Trace(result, partial(explain.body, steps, result, self), region, has_maps=False)

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of the steps on one image."""
        return explain.page(image, self, words, title)

    def _notes(self, steps: Steps) -> dict[str, Any]:
        chosen = steps.chosen
        return {
            "method": self.name,
            "caption": chosen.caption,
            "keywords": [asdict(k) for k in chosen.keywords],
            "candidates": [chosen.words[i] for i in chosen.candidates],
            "dropped": [m.reason for m in chosen.filter.matches if not m.kept] if chosen.filter else [],
            "regions": [{"label": label, "nearest": n.ranking} for n, label in zip(steps.named, steps.labels, strict=True)],
            "preset": self.networks.preset.name,
            "settings": asdict(replace(self.settings, features=self.feature_settings)),
            "seed": self.settings.seed,
        }

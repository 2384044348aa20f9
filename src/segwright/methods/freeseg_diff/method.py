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
from segwright.methods.base import Method, Trace, mean_scores
from segwright.methods.freeseg_diff import explain
from segwright.methods.freeseg_diff.naming import NAMINGS, Named, name_regions, paint
from segwright.methods.freeseg_diff.profiles import PROFILES
from segwright.methods.freeseg_diff.sharpen import sharpen
from segwright.methods.freeseg_diff.steps import Steps
from segwright.models.clip import FITS
from segwright.models.diffusion import FeatureSettings
from segwright.presets import Preset
from segwright.refine import CRF, G4Seg
from segwright.refine.pipeline import Row, parse_refiners
from segwright.regions.kmeans import CLUSTERS, RESTARTS, Clustering, kmeans
from segwright.settings import take_parts
from segwright.types import Image, Scores, Segmentation, check_image
from segwright.weights import Networks
from segwright.words.presence import BACKGROUND, Chosen, Nouns, choose, needed
from segwright.words.vocabulary import check_words

SOFT = 0.05  # of the photo's sides: k-means cells say no more of an outline; one-hot scores would leave G4Seg nothing to do
BACKBONES = ("diffusion", "clip", "vit", "rgb")
RULES = ("paper", "reference", "published", "none")
CAPTIONS = ("own", "published")


@dataclass(frozen=True)
class FreeSegDiffSettings:
    """Defaults: the paper's.

    Attributes:
        clusters: K of k-means (Sec. 4.4; Tables 4 and 6: 4 for VOC, 5 for COCO).
        restarts: of k-means; the best is kept (ours: the paper states none, and a single one lands in local optima).
        features: what is taken from the U-Net; None: the preset's own (Secs. 3.1.2 and 4.1, Table 6).
        prompt: "empty" (published code; the paper does not say), or "caption" to condition the U-Net on the photo's caption.
        extra_clusters: K is the number of candidates and so many more, instead of ``clusters`` (an option of the published
            code, off there); None: ``clusters``.
        backbone: "diffusion", or instead of it (Table 3) "clip", "vit" (ViT or DINOv2, as loaded), or "rgb", raw colours.
            CLIP's and ViT's are brought to the cells of ``features`` before they are clustered (Table 3: to the photo's size).
        layer: of those backbones, -1 the last, -2 the penultimate ("last or penultimate", Sec. 4.1).
        candidates: how keywords pick classes: "paper" (Sec. 3.1.1; to the letter it never drops a keyword, as no minimum is
            above its own mean), "reference" (the published code's distance and threshold on CLIP's embeddings, ours),
            "published" (those on the diffusion model's text encoder, as the published code has it), "none": every word
            competes (Table 2's baseline).
        templates: prompts for words; the published implementation uses bare names.
        refine: "crf", "pamr" (Table 7), "g4seg", several joined by commas, or None.
        background: prompts that compete with the nouns when no words are given; what is nearest to one of them stays
            unlabelled (ours: for ground that no noun of the caption names). The paper names every region of an open vocabulary;
            give () for that.
        naming: "paper": the nearest of all words, unlabelled if it is no candidate (Sec. 3.1.3); "published": each candidate
            keeps the one region that is most probable as it, each region the best of those (published code).
        fit: how a masked photo comes into CLIP's square: "squeeze" (ours), or "crop": short side, then the middle (the
            published code's CLIPProcessor).
        captions: "own": as the captioner's files say; "published": "a picture of ", 3 beams, 10 to 30 tokens (published code).
        adjectives: without words given, "red car" is a word beside "car" (published code).
        distractors: without words given, names that compete with the nouns and are never given (published code: VOC's).
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
    extra_clusters: int | None = None
    backbone: str = "diffusion"
    layer: int = -1
    candidates: str = "paper"
    templates: tuple[str, ...] = ("{}",)
    refine: Row = "crf"
    background: tuple[str, ...] = BACKGROUND
    naming: str = "paper"
    fit: str = "squeeze"
    captions: str = "own"
    adjectives: bool = False
    distractors: tuple[str, ...] = ()
    crop: bool = False
    smooth: bool = False
    sharpen_first: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        take_parts(self)
        for name, value, allowed in (
            ("prompt", self.prompt, ("empty", "caption")),
            ("backbone", self.backbone, BACKBONES),
            ("candidates", self.candidates, RULES),
            ("naming", self.naming, NAMINGS),
            ("fit", self.fit, FITS),
            ("captions", self.captions, CAPTIONS),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        parse_refiners(self.refine)
        if self.clusters < 1 or self.restarts < 1 or (self.extra_clusters or 0) < 0:
            got = f"{self.clusters} and {self.restarts}, {self.extra_clusters}"
            raise InputError(f"clusters and restarts must be at least 1 and extra_clusters 0 or more, got {got}")


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
    profiles: ClassVar = PROFILES
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
        worded = self.settings.backbone == "diffusion" and "logits" in self.feature_settings.kind.split("+")
        features = self._by_words(images, chosen) if worded else self.features(images, chosen)
        clusterings = self._clusterings(features, [self._count(c) for c in chosen])
        return [(f, c, self.outline(i, c)) for i, f, c in zip(images, features, clusterings, strict=True)]

    def _count(self, chosen: Chosen) -> int:
        """K of one photo."""
        extra = self.settings.extra_clusters
        return self.settings.clusters if extra is None else max(1, len(chosen.candidates) + extra)

    def _clusterings(self, features: Tensor | list[Tensor], counts: Sequence[int]) -> list[Clustering]:
        """All photos at once where they are alike; the results are the same."""
        restarts, seed = self.settings.restarts, self.settings.seed
        if isinstance(features, Tensor) and len(set(counts)) == 1:
            return kmeans(features, counts[0], restarts, seed=seed)
        return [kmeans(f, count, restarts, seed=seed)[0] for f, count in zip(features, counts, strict=True)]

    def choose(self, images: Sequence[Image], vocabulary: tuple[str, ...] | None) -> list[Chosen]:
        """Captions -> keywords -> the words that are believed to be in each photo (Sec. 3.1.1)."""
        settings = self.settings
        nouns = Nouns(settings.captions, settings.adjectives, settings.distractors)
        background, captions = settings.background, settings.prompt != "empty"
        return choose(self.networks, images, vocabulary, settings.candidates, background, captions=captions, how=nouns)

    def features(self, images: Sequence[Image], chosen: Sequence[Chosen]) -> Tensor:
        """(B, C, h, w) float32 of all photos (Sec. 3.1.2; other backbones: Table 3)."""
        networks, settings = self.networks, self.feature_settings
        if self.settings.backbone == "clip":
            return wide(networks.clip.patch_features(images, self.settings.layer), settings.size)
        if self.settings.backbone == "vit":
            return wide(networks.vit.features(images, self.settings.layer), settings.size)
        pixels = networks.diffusion.pixels(images)
        if self.settings.backbone == "rgb":
            return torch.nn.functional.adaptive_avg_pool2d(pixels, settings.size)
        prompts = [c.caption or "" for c in chosen] if self.settings.prompt == "caption" else None
        return networks.diffusion.features(pixels, settings, prompts, self.settings.seed)

    def _by_words(self, images: Sequence[Image], chosen: Sequence[Chosen]) -> list[Tensor]:
        """(C, h, w) of each photo, where features have a channel a head and word: photos of unlike words are no batch."""
        diffusion, found = self.networks.diffusion, []
        for image, c in zip(images, chosen, strict=True):
            prompts = [c.caption or ""] if self.settings.prompt == "caption" else None
            names = c.words or c.prompts or ("",)
            pixels = diffusion.pixels([image])
            found.append(diffusion.features(pixels, self.feature_settings, prompts, self.settings.seed, names=names)[0])
        return found

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
            words = (*c.words, *c.prompts)
            named.append(name_regions(vectors, texts, words, c.candidates, clip.logit_scale, naming=settings.naming))
        return named

    def _seen(self, images: Sequence[Image], regions: Sequence[Tensor]) -> Sequence[Tensor]:
        masks = [torch.nn.functional.one_hot(r).permute(2, 0, 1).bool() for r in regions]
        return self.networks.clip.embed_masked(images, masks, crop=self.settings.crop, fit=self.settings.fit)

    def _painted(
        self, image: Image, chosen: Chosen, features: Tensor, clustering: Clustering, regions: Tensor, *, named: list[Named]
    ) -> Steps:
        labels = [n.label for n in named]
        scores = paint(regions, labels, chosen.words)
        return Steps(image, chosen, features, clustering, regions, tuple(named), tuple(labels), scores)

    def finish(self, steps: Steps) -> Segmentation:
        """Refine the coarse scores and take the strongest label (Sec. 3.1.3, Table 7)."""
        scores = self.refined(steps.image, steps.scores)
        labels = scores.argmax().cpu().numpy()
        sure, calibration = mean_scores(_shares(steps), labels), self.networks.calibration(self.name)
        return Segmentation(scores.words, labels, scores, self._notes(steps), sure, calibration=calibration)

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


def _shares(steps: Steps) -> Scores:
    """The coarse scores, each region's word with the probability that CLIP gives it; the rest is background's."""
    shares = torch.tensor([one.share for one in steps.named], device=steps.regions.device)[steps.regions]
    values = steps.scores.values * shares
    values[0] = 1 - values[1:].sum(0)
    return replace(steps.scores, values=values)


def wide(maps: Tensor, size: int) -> Tensor:
    """(B, C, h, w) at ``size`` cells a side, bilinear, where they are fewer."""
    if maps.shape[2] >= size:
        return maps
    return torch.nn.functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)

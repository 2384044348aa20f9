"""What a person names in a photo, and nothing where it is not: the words of all parts, competing, believed, found and checked.

1. Presence: the caption's nouns, and CLIP on photo and crops, against common nouns.
2. Competition: the words believed, the caption's other nouns, background words.
3. Dense evidence: regions of self-attention that CLIP names (FreeSeg-Diff), CLIP's own patches (SCLIP) and cross-attention to
   all words (DiffSegmenter), from one U-Net pass.
4. Outline: refined by PAMR, specks taken out; on demand carried by self-attention first (CLIPer, iSeg).
5. Check: CLIP on each word's masked and cropped region, against all competitors.

A word's score is what was measured, pooled as mean log-odds (a logarithmic opinion pool: Genest and Zidek 1986); below
``confidence`` it is not found. No paper has this method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.errors import InputError
from segwright.files.coarse_masks import hard_scores
from segwright.files.html import Page
from segwright.images import as_image
from segwright.methods.base import Method, Trace
from segwright.methods.best import affinity, dense, explain, presence
from segwright.methods.best.field import Field
from segwright.methods.best.steps import Belief, Steps
from segwright.methods.segmenter import all_background, background_words, strongest, to_scores
from segwright.refine.pipeline import Row, parse_refiners
from segwright.types import Image, Scores, Segmentation, check_image
from segwright.weights import Networks
from segwright.words.competitors import common_nouns, others, used_part
from segwright.words.nouns import keywords
from segwright.words.presence import BACKGROUND
from segwright.words.synonyms import names_of
from segwright.words.vocabulary import check_words

SURE = 1e-3  # no evidence is taken for surer than this (ours)
PARTS = ("presence", "competition", "dense", "outline", "check")


@dataclass(frozen=True)
class BestSettings:
    """All defaults are ours, chosen on 50 to 120 training scenes with preset ``mini``.

    Attributes:
        confidence: 0..1: below this score a word is not found. Lower finds more, higher is surer (ours: of 0.2, 0.25, 0.3, 0.35).
        floor: a word whose presence is below this share of ``confidence`` does not compete (ours: 0 and this did not differ).
        parts: of ``PARTS``; leaving one out switches it off (ours: all).
        noun: a noun of the caption competes if CLIP's share for it reaches this on the photo or a crop: a wrong caption takes the
            place of a word else (ours: of 0, 0.2, 0.5 and never).
        clusters: regions that CLIP names (ours: of 4, 6, 8, 12, with the networks in training).
        seen: without words, a common noun is asked for beside the caption's if CLIP's share for it reaches this on the photo or a
            crop (ours: of 0.3, 0.5 and never).
        cells: share of CLIP's own patches beside the regions' names (ours: of 0.6, 0.8 and 0.9).
        mix: share of the cross-attention beside the names (ours: of 0, 0.15, 0.3 and 0.4; 0 and this did not differ).
        odds: how much likelier a named word is than another competitor, before the photo is seen (ours: of 1, 1.5, 2, 2.5, 4).
        sharpness: power of the fused evidence (ours: of 0.7, 1, 1.5 and 2).
        rounds: so many times the self-attention carries the maps (ours: of 0 and 1).
        timestep: to which the photo is noised (published codes of DiffSegmenter and iSeg: 100, CLIPer 101).
        background: words that compete and name nothing; None: the preset's own, else those of ``freeseg-diff`` without words (ours:
            not varied).
        templates: prompts (FreeSeg-Diff's published code: bare names).
        refine: refiners, joined by commas, or None (ours: of None, "crf", "pamr" and this).
        seed: of the noise and of k-means (ours: 0, as any other).
    """

    confidence: float = 0.3
    floor: float = 0.25
    parts: tuple[str, ...] = PARTS
    noun: float = 0.5
    clusters: int = 8
    seen: float = 0.3
    cells: float = 0.8
    mix: float = 0.15
    odds: float = 2.0
    sharpness: float = 1.5
    rounds: int = 0
    timestep: int = 100
    background: tuple[str, ...] | None = None
    templates: tuple[str, ...] = ("{}",)
    refine: Row = "pamr,specks"
    seed: int = 0

    def __post_init__(self) -> None:
        parse_refiners(self.refine)
        foreign = sorted(set(self.parts) - set(PARTS))
        if isinstance(self.parts, str) or foreign:
            raise InputError(f"parts must be of {', '.join(PARTS)}, got {self.parts!r}")
        for name in ("confidence", "floor", "noun", "seen", "cells", "mix"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if self.odds <= 0 or self.sharpness <= 0:
            raise InputError(f"odds and sharpness must be above 0, got {self.odds} and {self.sharpness}")
        if self.clusters < 1 or self.rounds < 0 or not 0 <= self.timestep <= 999:
            got = f"{self.clusters}, {self.rounds} and {self.timestep}"
            raise InputError(f"clusters must be 1 or more, rounds 0 or more and timestep in 0..999, got {got}")


@dataclass(frozen=True)
class Best(Method):
    """The method with its networks.

    >>> method = Best.load("mini")
    >>> segmentation = method(image, words=["dog", "sofa; couch"])
    """

    networks: Networks
    settings: BestSettings = field(default_factory=BestSettings)
    name: ClassVar = "best"
    Settings: ClassVar = BestSettings
    paper: ClassVar = "none: segwright's own, from FreeSeg-Diff, DiffSegmenter, CLIPer and iSeg"
    takes_synonyms: ClassVar = True
    needs: ClassVar = ("diffusion", "clip", "captioner")

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """Several photos, each by itself."""
        return [self.finish(self.steps(image, words)) for image in images]

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image and keep its steps."""
        steps = self.steps(image, words)
        return Trace(self.finish(steps), partial(explain.body, image, steps, self))

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of the steps on one image."""
        return explain.page(image, self, words, title)

    def also(self, image: Image, found: Segmentation, word: str, place: affinity.Place) -> Segmentation:
        """ "This too": what is unlabelled in the region at a place becomes a word's, whichever method the result is of.

        Args:
            image: the (H, W, 3) uint8 photo, or as ``segwright.images.as_image`` takes it.
            found: its segmentation.
            word: of ``found.words``, found or not.
            place: a point (x, y) or a box (x0, y0, x1, y1) in pixels, x1 and y1 just outside.

        Returns:
            The segmentation with the region added; its scores are as they were, its notes say what was added.

        Raises:
            InputError: a word that is not in the vocabulary, or a place outside the photo.
        """
        found.mask(word)
        return affinity.added(found, word, place, self.reach(image, word, place))

    def reach(self, image: Image, word: str, place: affinity.Place) -> NDArray[np.bool_]:
        """(H, W) bool, the region of the affinity map at a place: one U-Net pass that reads the word, then the refiners.

        Args:
            image: as for ``also``.
            word: what is there.
            place: as for ``also``.

        Raises:
            InputError: a place outside the photo, or an unusable word.
        """
        photo = as_image(image)
        size = (photo.shape[0], photo.shape[1])
        given, name = affinity.check_place(place, size), used_part(check_words([word])[0])
        passed = dense.one_pass(self.networks, photo, (name,), self.settings.timestep, self.settings.seed)
        where = affinity.coarse(affinity.belonging(passed.own, given, size), size)
        if self._has("outline") and where.any():
            scores = hard_scores(where.astype(np.int64), {1: name})
            refined = (self.refined(photo, scores).argmax() == 1).cpu().numpy()
            where = refined if refined.any() else where
        return affinity.region(where, given)

    def steps(self, image: Image, words: Sequence[str] | None = None) -> Steps:
        """Everything on one photo."""
        photo = check_image(image)
        vocabulary = None if words is None else check_words(words)
        caption = self.networks.captioner.caption([photo])[0]
        spoken = [k.word for k in keywords(caption)]
        views = self.networks.clip.embed_images(presence.crops(photo)) if self._has("presence") else None
        vocabulary = self._open(spoken, views) if vocabulary is None else vocabulary
        named = set(spoken)
        everyone, nouns = self._field(vocabulary, spoken)
        seen = None if views is None else self._seen(views, everyone, spoken)
        prior = [pool(_evidence(seen, i)) for i in range(len(vocabulary))] if seen else [1.0] * len(vocabulary)
        least = self.settings.floor * self.settings.confidence
        believed = tuple(i for i, value in enumerate(prior) if value >= least)
        beside = nouns if seen is None else [n for n in nouns if n not in named or seen.others[n] >= self.settings.noun]
        competing = Field(everyone.only(believed).names, tuple(beside) if self._has("competition") else ())
        empty = all_background(tuple(map(str, vocabulary)), (photo.shape[0], photo.shape[1]))
        steps = Steps(
            caption, vocabulary, everyone, competing, believed, None, None, None, None, None, None, empty, empty, (), empty
        )  # fmt: skip
        if believed:
            steps = self._segmented(photo, steps)
        return self._checked(photo, steps, seen)

    def _has(self, part: str) -> bool:
        return part in self.settings.parts

    def _open(self, spoken: Sequence[str], views: Tensor | None) -> tuple[str, ...]:
        """Without words: the caption's nouns, but those that name nothing, and the common nouns that CLIP sees."""
        nouns = [word for word in spoken if word not in BACKGROUND]
        if views is None:
            return tuple(nouns)
        everyone, near = self._field((), spoken)
        shares = self._seen(views, everyone, ()).others
        return (*nouns, *(n for n in everyone.others if n not in near and shares[n] >= self.settings.seen))

    def _field(self, words: Sequence[str], nouns: Sequence[str]) -> tuple[Field, tuple[str, ...]]:
        """Everyone who competes for presence; and the caption's other nouns and background words of them."""
        names = tuple(tuple(dict.fromkeys(used_part(name) for name in names_of(word))) for word in words)
        flat = [name for group in names for name in group]
        back = background_words(self.settings.background, self.networks, BACKGROUND, flat)
        near = others([*nouns, *back], flat)
        common = self.networks.preset.defaults.nouns or common_nouns()
        return Field(names, (*near, *others(common, [*flat, *near]))), near

    def _seen(self, views: Tensor, everyone: Field, nouns: Sequence[str]) -> presence.Presence:
        return presence.measure(self.networks.clip, views, everyone, nouns, self.settings.templates)

    def _segmented(self, photo: Image, steps: Steps) -> Steps:
        """Dense evidence and outline of the words believed."""
        settings, networks, rows = self.settings, self.networks, steps.competing
        passed = dense.one_pass(networks, photo, rows.titles, settings.timestep, settings.seed)
        regions = dense.regions_of(passed.features, settings.clusters, settings.seed)
        shares = dense.name_regions(networks.clip, photo, regions, rows, settings.templates)
        cells = dense.name_cells(networks, photo, rows, settings.templates, len(regions)) if self._has("dense") else None
        cross = passed.cross if self._has("dense") else None
        joined = dense.fuse(shares.T[:, regions], cells, settings.cells, cross, settings.mix)
        fused = dense.favour(joined, len(rows.names), settings.odds, settings.sharpness)
        carried = dense.carry(fused, passed.own, settings.rounds if self._has("outline") else 0)
        labels = [1 + i for i in steps.believed]
        values = strongest(carried, len(labels))
        scores = to_scores(steps.scores.words, labels, values, (photo.shape[0], photo.shape[1]))
        refined = self.refined(photo, scores) if self._has("outline") else scores
        return replace(
            steps, passed=passed, regions=regions, shares=shares, cells=cells, fused=fused, carried=carried, scores=scores,
            refined=refined,
        )  # fmt: skip

    def _checked(self, photo: Image, steps: Steps, seen: presence.Presence | None) -> Steps:
        """Beliefs, and what does not hold taken out."""
        labels = steps.refined.argmax()
        there = [label for label in steps.refined.labels if label and bool((labels == label).any())]
        checks = self._checks(photo, labels, there, steps.everyone)
        beliefs = []
        for place, word in enumerate(steps.words):
            evidence = _evidence(seen, place) if seen else {}
            if steps.carried is not None and place in steps.believed:
                evidence["dense"] = _peak(steps.carried[steps.believed.index(place)])
            share, winner = checks.get(place + 1, (0.0, ""))
            if self._has("check") and steps.carried is not None:
                evidence["region"] = share
            score = pool(evidence)
            ok = place + 1 in there and score >= self.settings.confidence
            why = self._why(place, place + 1 in there, winner, steps, seen)
            beliefs.append(Belief(str(word), steps.everyone.names[place], ok, score, evidence, "" if ok else why))
        kept = [label for label in there if beliefs[label - 1].present]
        return replace(steps, beliefs=tuple(beliefs), result=_without(steps.refined, kept))

    def _checks(self, photo: Image, labels: Tensor, there: Sequence[int], everyone: Field) -> dict[int, tuple[float, str]]:
        """Of each label its word's share on its own region, and the title that is strongest there."""
        if not there or not self._has("check"):
            return {}
        masks = torch.stack([labels == label for label in there])
        shares = dense.named(self.networks.clip, photo, masks, everyone, self.settings.templates)
        winners = shares.argmax(1).tolist()
        return {
            label: (float(row[label - 1]), everyone.titles[winner])
            for label, row, winner in zip(there, shares, winners, strict=True)
        }  # fmt: skip

    def _why(self, place: int, has_region: bool, winner: str, steps: Steps, seen: presence.Presence | None) -> str:
        """Why a word was not found, one sentence."""
        if place not in steps.believed:
            rival = seen.rival[place] if seen else ""
            return "the caption does not name it" + (f", and CLIP takes the photo for {rival}" if rival else "")
        if not has_region:
            return "other words are stronger everywhere"
        if winner and winner not in steps.everyone.names[place]:
            return f"CLIP takes its region for {winner}"
        return "the evidence is weak"

    def _short_of(self, belief: Belief) -> str:
        """By how much a word's score falls short; nothing where it does not."""
        least = self.settings.confidence
        return f"best evidence {belief.score:.2f} of {least:.2f}: " if belief.score < least else ""

    def finish(self, steps: Steps) -> Segmentation:
        """The result with its notes."""
        notes = {
            "method": self.name,
            "caption": steps.caption,
            "competed": list(steps.competing.titles),
            "confidence": self.settings.confidence,
            "beliefs": [asdict(belief) for belief in steps.beliefs],
            "not_found": [f"{b.word} ({self._short_of(b)}{b.why})" for b in steps.beliefs if not b.present],
            "preset": self.networks.preset.name,
            "settings": asdict(self.settings),
            "seed": self.settings.seed,
        }
        confidence = {belief.word: belief.score for belief in steps.beliefs}
        labels, calibration = steps.result.argmax().cpu().numpy(), self.networks.calibration(self.name)
        return Segmentation(steps.result.words, labels, steps.result, notes, confidence, calibration=calibration)


def _evidence(seen: presence.Presence, place: int) -> dict[str, float]:
    return {"caption": seen.caption[place], "photo": seen.seen[place]}


def pool(evidence: Mapping[str, float]) -> float:
    """Probabilities 0..1 -> one: the sigmoid of their mean log-odds, each brought into ``SURE`` .. 1 - ``SURE``; none: 0."""
    if not evidence:
        return 0.0
    held = np.clip(np.array(list(evidence.values())), SURE, 1 - SURE)
    return float(1 / (1 + np.exp(-np.mean(np.log(held / (1 - held))))))


def _peak(values: Tensor) -> float:
    """The mean of the strongest hundredth of the cells."""
    return float(values.flatten().topk(max(1, values.numel() // 100)).values.mean().clamp(0, 1))


def _without(scores: Scores, kept: Sequence[int]) -> Scores:
    """Only the kept labels; what the others had is background's."""
    rows = [row for row, label in enumerate(scores.labels) if label in kept]
    lost = [row for row in range(1, len(scores.labels)) if row not in rows]
    lone = scores.values[0] + scores.values[lost].sum(0)
    taken = torch.zeros_like(lone, dtype=torch.bool)
    winners = scores.values.argmax(0)
    for row in rows:
        taken |= winners == row
    values = torch.cat([lone[None], scores.values[rows]])
    shown = torch.where(taken[None], torch.cat([scores.values[:1], scores.values[rows]]), values)
    clean = shown / shown.sum(0).clamp(min=1e-12)
    return Scores(scores.words, (0, *(scores.labels[row] for row in rows)), clean)

"""OVDiff (Karazija et al. 2024): words -> support pictures -> prototypes; a photo's features take the nearest prototype's word.

Making prototypes is ``methods/ovdiff/support.py``; this file matches photos against them (Sec. 3.4).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby, takewhile
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.files.record import plain
from segwright.images import resize, stitch, windows
from segwright.methods.base import Method, Progress, Trace, mean_scores
from segwright.methods.ovdiff import explain
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.default_bank import default_bank, ovdiff_networks
from segwright.methods.ovdiff.extractors import NETWORK, check_extractors, extract
from segwright.methods.ovdiff.profiles import PROFILES
from segwright.methods.ovdiff.proposals import proposal_networks
from segwright.methods.ovdiff.prototypes import INSTANCE, PART, WHOLE, Prototypes, match, standardised, without_stuff
from segwright.methods.ovdiff.steps import Matching, Steps
from segwright.methods.ovdiff.support import (
    SupportSettings,
    WordPrototypes,
    make_words,
    open_bank,
    read_word,
    support_from,
    support_of,
)
from segwright.presets import Preset
from segwright.refine.base import Refiner
from segwright.refine.pipeline import Row, parse_refiners, refine
from segwright.settings import changed
from segwright.types import Image, Scores, Segmentation, check_image
from segwright.weights import Networks, split_companions
from segwright.words.prefilter import MOST, Filtered, prefilter
from segwright.words.presence import check_rule, choose, needed
from segwright.words.stuff import known_stuff
from segwright.words.vocabulary import check_words

DESIGNED_FOR = 512  # pixels of the diffusion model that the sizes below are stated for; they scale with the preset's
LONGEST = 8  # a photo's long side counts as at most so many short ones; beyond that it is squeezed
CHUNK = 4  # windows at once
REMEMBERED = 2048  # filtered sets of background prototypes
ENSEMBLES = ("mean", "standardised")
KINDS = {"all": (WHOLE, INSTANCE, PART), "average": (WHOLE,), "instances": (INSTANCE,), "parts": (PART,)}
AUTO = "auto"  # in place of stuff: what is known to be stuff


@dataclass(frozen=True)
class OVDiffSettings:
    """Defaults: the paper's Sec. 4 and its published code.

    Attributes:
        extractors: None: all that the bank was made with (Table 2: several together are best).
        ensemble: how several extractors' cosines become one: "mean" (Sec. 4.1), or "standardised": each first brought to the
            same mean and spread over the photo and its words (ours, for extractors of unlike spread). None: the preset's.
        short_side: pixels that a photo's short side is brought to (published code: 448).
        windows: sides of the square sliding windows (Sec. 4: 448 and 336); () for none (Table 3).
        stride: of the windows, in pixels (Sec. 4: 224).
        whole: the whole photo counts as one more window (published code).
        candidates: which things take part. "prefilter": those that CLIP sees (Sec. 3.4); "paper", "reference": those nearest to the
            caption's nouns, FreeSeg-Diff's rules (not in this paper); "none": all. Stuff always takes part (published code).
        most: eta, of the pre-filter (published code: 10).
        background: "prototypes": background is what is nearest to a background prototype (Sec. 3.4); "threshold": what is
            nearer than ``threshold`` to nothing (Table 3); "none": there is no background (Table 4).
        threshold: cosine, for background "threshold" (0.72: Sec. 4.3, by grid search on VOC).
        prototypes: "all", "average": only the class-level ones (Table 3), "instances" or "parts": only one a picture, or one a
            part (Sec. 3.3).
        stuff_filter: background prototypes with a higher cosine to a stuff word's are dropped (Sec. 3.4; 0.85: published code);
            None: all are kept.
        refine_on: what the first refiners see where they can: "cosines", averaged over windows and extractors, at the working
            size (published code: PAMR); else, and with "probabilities", the softmax at the photo's size (ours).
        temperature: cosines divided by it become probabilities, by a softmax; no word changes by it without a refiner (ours:
            best of 0.005 .. 0.1 on training scenes of the miniature world).
        refine: refiners in order, joined by commas, or None. PAMR: Table 1's last row, and the published code.
        seed: of the diffusion noise (ours: 0, as any other).
    """

    extractors: tuple[str, ...] | None = None
    ensemble: str | None = None
    short_side: int = 448
    windows: tuple[int, ...] = (448, 336)
    stride: int = 224
    whole: bool = True
    candidates: str = "prefilter"
    most: int = MOST
    background: str = "prototypes"
    threshold: float = 0.72
    prototypes: str = "all"
    stuff_filter: float | None = 0.85
    refine_on: str = "cosines"
    temperature: float = 0.02
    refine: Row = "pamr"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("background", self.background, ("prototypes", "threshold", "none")),
            ("prototypes", self.prototypes, tuple(KINDS)),
            ("refine_on", self.refine_on, ("cosines", "probabilities")),
            ("ensemble", self.ensemble, (*ENSEMBLES, None)),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        check_rule(self.candidates)
        if self.extractors is not None:
            check_extractors(self.extractors)
        if not self.windows and not self.whole:
            raise InputError("OVDiff needs windows, or the whole photo; give windows or whole=True")
        if min(self.short_side, self.stride, *self.windows) < 1 or self.temperature <= 0:
            raise InputError("short_side, windows and stride must be 1 or more pixels, and temperature above 0")
        parse_refiners(self.refine)


@dataclass(frozen=True)
class OVDiff(Method):
    """The method with its networks and its bank of prototypes.

    >>> method = OVDiff.load("mini", bank="my-bank")
    >>> segmentation = method(image, words=["dog", "sofa"])  # words that the bank lacks are made first
    """

    networks: Networks
    bank: Bank
    support: SupportSettings = field(default_factory=SupportSettings)
    settings: OVDiffSettings = field(default_factory=OVDiffSettings)
    stuff: tuple[str, ...] | None = None
    own_bank: bool = False  # not given by the user: without words the caption names them
    cache: dict[tuple[str, tuple[str, ...]], WordPrototypes] = field(default_factory=dict, repr=False, compare=False)
    around: dict[tuple[Any, ...], Prototypes] = field(default_factory=dict, repr=False, compare=False)
    name: ClassVar = "ovdiff"
    absent_words: ClassVar = (
        "CLIP picks the words that fit the photo best, one at least; each pixel then takes one of them or background"
    )
    paper: ClassVar = "OVDiff (Karazija et al. 2024)"
    protocol: ClassVar = "whole"  # resizing and windows are steps of the method itself
    Settings: ClassVar = OVDiffSettings
    needs: ClassVar = ("diffusion", "clip")
    options: ClassVar = {"bank": str | None, "support": SupportSettings | None, "stuff": tuple[str, ...] | None}
    profiles: ClassVar = PROFILES
    without_background: ClassVar = {"background": "none"}  # Sec. 4.4: no background prototypes

    @classmethod
    def open_networks(cls, preset: Any, device: str | None, dtype: str, **companions: Any) -> Networks:
        """A preset's networks, with CLIP ViT-B/16 where they come from the hub (published code)."""
        return ovdiff_networks(preset, device, dtype, **companions)

    @classmethod
    def load(
        cls,
        preset: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str = "float32",
        *,
        bank: str | os.PathLike[str] | None = None,
        support: SupportSettings | Mapping[str, Any] | None = None,
        stuff: Sequence[str] | None = None,
        **settings: Any,
    ) -> Self:
        """A preset's networks, and a bank.

        Args:
            bank: a folder, begun if there is none; one of the user's cache folder if None ($SEGWRIGHT_BANKS overrides where).
            support: how words that the bank lacks are made, or the settings in which that differs from how the bank's others
                were, as a dictionary.
            stuff: which words are stuff (grass, sky), not things.
            settings: as ``OVDiffSettings``, and single networks.
        """
        companions, rest = split_companions(settings)
        return cls.on(cls.open_networks(preset, device, dtype, **companions), bank=bank, support=support, stuff=stuff, **rest)

    @classmethod
    def on(
        cls,
        networks: Networks,
        *,
        bank: str | os.PathLike[str] | None = None,
        support: SupportSettings | Mapping[str, Any] | None = None,
        stuff: Sequence[str] | None = None,
        **settings: Any,
    ) -> Self:
        """The method on networks that are there already; otherwise as ``load``."""
        made = support_from(support, bank, networks)
        opened = open_bank(networks, bank if bank is not None else default_bank(networks, made), made)
        return cls(
            networks,
            opened,
            made,
            cls.checked(settings, networks.preset),
            None if stuff is None else tuple(stuff),
            own_bank=bank is None,
        )

    def __call__(self, image: Image, words: Sequence[str] | None = None) -> Segmentation:
        """Segment one photo, (H, W, 3) uint8.

        Args:
            words: the vocabulary; those that the bank lacks are made first. None: all words of the bank, or, where no bank was
                given, the nouns of the photo's caption.

        Raises:
            InputError: not a photo, unusable words, or a damaged bank.
            WeightsError: networks that cannot be loaded.
            OutputError: the bank cannot be written.
        """
        return self.many([image], words)[0]

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        """Several photos, each independent of the others."""
        return [self.finish(steps) for steps in self.steps(images, words)]

    def steps(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Steps]:
        """Everything up to the coarse scores."""
        images = [check_image(image) for image in images]
        vocabularies = self._vocabularies(images, words)
        self.prepare(list(dict.fromkeys(word for v in vocabularies for word in v)))
        return [self._step(image, v) for image, v in zip(images, vocabularies, strict=True)]

    def prepare(self, words: Sequence[str], progress: Progress | None = None) -> None:
        """Bring words into the bank.

        Args:
            progress: called with support pictures as they are made; None: a line on standard error names the words.
        """
        names = self._extractors
        missing = [word for word in words if (word, names) not in self.cache and self.bank.get(word) is None]
        if missing and progress is None:
            print(f"segwright: making prototypes of {', '.join(missing)} in {self.bank.folder}", file=sys.stderr, flush=True)
        if missing:
            make_words(self.networks, self.bank, missing, self.support, self._stuff(missing), progress=progress)

    def _stuff(self, words: Sequence[str]) -> tuple[str, ...]:
        """Which of the words are stuff, as far as it was said."""
        if self.stuff == (AUTO,):
            return known_stuff(words)
        named = {word.casefold() for word in self.stuff or ()}
        return tuple(word for word in words if word.casefold() in named)

    def prototypes(self, word: str) -> WordPrototypes:
        """A word's prototypes, read once."""
        names = self._extractors
        if (word, names) not in self.cache:
            self.cache[word, names] = read_word(self.bank, word, names, self.networks.device)
        return self.cache[word, names]

    def _vocabularies(self, images: Sequence[Image], words: Sequence[str] | None) -> list[tuple[str, ...]]:
        if words is not None:
            return [check_words(words)] * len(images)
        if not self.own_bank:
            known = tuple(self.bank.entries())
            if not known:
                raise InputError(f"the bank {str(self.bank.folder)!r} is empty; give words, or make some with segwright prototypes")
            return [known] * len(images)
        return [chosen.words for chosen in choose(self.networks, images, None, "none")]

    def _step(self, image: Image, words: tuple[str, ...]) -> Steps:
        known = [self.prototypes(word) for word in words]
        stuff = self.stuff_places(known, words)
        filtered, present = self._present(image, words, stuff)
        kept = sorted({*present} | {*stuff})
        matching = self.matching(known, kept, stuff)
        cosines = self._cosines(image, matching)
        seen = self._smoothed(image, cosines)
        return Steps(image, words, stuff, filtered, matching, cosines, self._scores(image, words, matching, seen))

    @property
    def _first(self) -> tuple[Refiner, ...]:
        """The refiners that see cosines: those at the head of the row that take any values."""
        row = parse_refiners(self.settings.refine, self.refiners)
        known = Refiner.smoothed
        on = self.settings.refine_on == "cosines"
        return tuple(takewhile(lambda refiner: on and type(refiner).smoothed is not known, row))

    def _smoothed(self, image: Image, cosines: Tensor) -> Tensor:
        """Cosines after them, at the working size."""
        if len(cosines) and self._first:
            photo = self.working(image)[0]
            for refiner in self._first:
                found = refiner.smoothed(photo, cosines)
                cosines = cosines if found is None else found
        return cosines

    def refined(self, image: Image, scores: Scores) -> Scores:
        """The scores after the refiners that did not see cosines."""
        row = parse_refiners(self.settings.refine, self.refiners)
        return refine(image, scores, row[len(self._first) :], self.networks)

    def _present(self, image: Image, words: tuple[str, ...], stuff: Sequence[int]) -> tuple[Filtered | None, Sequence[int]]:
        """Places of the things that are believed to be in the photo, and how the pre-filter found them."""
        things = [i for i in range(len(words)) if i not in stuff]
        rule, clip = self.settings.candidates, self.networks.clip
        if rule == "none" or not things:
            return None, things
        if rule == "prefilter":
            named = [words[i] for i in things]
            filtered = prefilter(clip.embed_images([image])[0], named, clip.embed_texts, self.settings.most)
            return filtered, [things[i] for i in filtered.kept]
        return None, choose(self.networks, [image], words, rule)[0].candidates

    def stuff_places(self, known: Sequence[WordPrototypes], words: Sequence[str]) -> tuple[int, ...]:
        """Places of the words that are stuff in this vocabulary; where nothing is said, as the bank has them."""
        if self.stuff is None:
            return tuple(i for i, w in enumerate(known) if w.entry.kind == "stuff")
        named = set(self._stuff(words))
        return tuple(i for i, word in enumerate(words) if word in named)

    def matching(self, known: Sequence[WordPrototypes], kept: Sequence[int], stuff: Sequence[int]) -> Matching:
        """The prototypes that take part, by label (Eq. 4); background from things only, without what resembles stuff."""
        things = tuple(i for i in kept if i not in stuff)
        names = list(known[kept[0]].foreground) if kept else []
        sets: dict[str, tuple[tuple[Prototypes, ...], ...]] = {}
        owners = [(i,) for i in kept]
        use_background = self.settings.background == "prototypes" and bool(things)
        ground = [known[i] for i in stuff]
        for name in names:
            foreground: list[tuple[Prototypes, ...]] = [(self._some(known[i].foreground[name]),) for i in kept]
            if use_background:
                foreground.insert(0, tuple(self._background(known[i], ground, name) for i in things))
            sets[name] = tuple(foreground)
        if use_background and all(any(len(p.vectors) for p in s[0]) for s in sets.values()):
            return Matching((0, *(i + 1 for i in kept)), (things, *owners), sets)
        if use_background:  # the stuff filter left nothing
            sets = {name: s[1:] for name, s in sets.items()}
        return Matching(tuple(i + 1 for i in kept), tuple(owners), sets)

    def _background(self, thing: WordPrototypes, stuff: Sequence[WordPrototypes], name: str) -> Prototypes:
        """A thing's background prototypes after the stuff filter, found once for a set of stuff words."""
        limit = self.settings.stuff_filter
        key = (thing.entry.digest, name, limit, self.settings.prototypes, *(w.entry.digest for w in stuff))
        if key not in self.around:
            while len(self.around) >= REMEMBERED:
                self.around.pop(next(iter(self.around)))
            resembled = [w.foreground[name].vectors for w in stuff] if limit is not None else []
            self.around[key] = without_stuff(self._some(thing.background[name]), resembled, limit if limit is not None else 1.0)
        return self.around[key]

    def _some(self, prototypes: Prototypes) -> Prototypes:
        return prototypes.only(KINDS[self.settings.prototypes])

    def working(self, image: Image) -> tuple[Image, list[tuple[int, int, int, int]]]:
        """The photo at working size, and its windows (y, x, h, w): sliding ones of each size, and the whole."""
        settings, scale = self.settings, self.networks.preset.image_size / DESIGNED_FOR
        short = max(1, round(settings.short_side * scale))
        height, width = image.shape[:2]
        longer = min(LONGEST, max(height, width) / min(height, width))
        size = (round(short * longer), short) if height > width else (short, round(short * longer))
        photo = resize(image, size)
        sides = [max(1, round(w * scale)) for w in settings.windows]
        places = [p for side in sides for p in windows(size[0], size[1], side, max(1, min(side, round(settings.stride * scale))))]
        return photo, list(dict.fromkeys([*places, (0, 0, *size)] if settings.whole else places))

    def _cosines(self, image: Image, matching: Matching) -> Tensor:
        """(M, H', W'): the cosine to each label's nearest prototype, of all windows and extractors."""
        sets = {name: [torch.cat([p.vectors for p in owned]) for owned in s] for name, s in matching.sets.items()}
        found = [self.matched(image, name, s) for name, s in sets.items() if s]
        if not found:
            return torch.zeros(0, 1, 1)
        how = self.settings.ensemble or self.networks.preset.ensemble
        return torch.stack(standardised(found) if how == "standardised" and len(found) > 1 else found).mean(0)

    def matched(self, image: Image, extractor: str, sets: Sequence[Tensor]) -> Tensor:
        """(C, H', W') at working size: cosines to the nearest of each set of prototypes (P, D), averaged over the windows."""
        photo, places = self.working(image)
        parts: list[Tensor] = []
        for some in _alike(places):
            crops = [photo[y : y + h, x : x + w] for y, x, h, w in some]
            maps = match(extract(extractor, self.networks, crops, self.settings.seed), sets)
            sizes = [(h, w) for _, _, h, w in some]
            parts += [F.interpolate(m[None], s, mode="bilinear", align_corners=False)[0] for m, s in zip(maps, sizes, strict=True)]
        return stitch(parts, places, (photo.shape[0], photo.shape[1]))

    def _scores(self, image: Image, words: tuple[str, ...], matching: Matching, cosines: Tensor) -> Scores:
        """Cosines at the photo's size as probabilities, with a row for background in any case."""
        wide = F.interpolate(cosines[None], image.shape[:2], mode="bilinear", align_corners=False)[0] if len(cosines) else cosines
        if matching.labels[:1] == (0,):
            return Scores(words, matching.labels, (wide / self.settings.temperature).softmax(0))
        size = (1, *image.shape[:2])
        background = wide.new_full(size, self.settings.threshold if self.settings.background == "threshold" else -torch.inf)
        values = (torch.cat([background, wide]) / self.settings.temperature).softmax(0) if len(cosines) else wide.new_ones(size)
        return Scores(words, (0, *matching.labels), values)

    def finish(self, steps: Steps) -> Segmentation:
        """Refine the coarse scores and take the strongest label."""
        scores = self.refined(steps.image, steps.scores)
        labels = scores.argmax().cpu().numpy()
        sure, calibration = mean_scores(steps.scores, labels), self.networks.calibration(self.name)
        return Segmentation(scores.words, labels, scores, self._notes(steps), sure, calibration=calibration)

    @classmethod
    def opens_for(cls, preset: Preset, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What makes the proposals of support pictures."""
        given = options.get("support") or {}
        support = given if isinstance(given, SupportSettings) else changed(SupportSettings(), given, "support", preset)
        extractors = (NETWORK.get(name, name) for name in support.extractors or preset.extractors)
        return (*extractors, *proposal_networks(support.proposals, preset))

    @classmethod
    def asks_for(cls, preset: Preset, settings: OVDiffSettings, words: bool) -> tuple[str, ...]:
        """The diffusion model, which makes what a bank lacks, CLIP, the extractors, and what chooses the words."""
        extractors = (NETWORK.get(name, name) for name in settings.extractors or preset.extractors)
        return (*cls.needs, *extractors, *needed(settings.candidates, True), *needed(settings.candidates, words))

    @classmethod
    def draws_with(cls, options: Mapping[str, Any]) -> str | None:
        """The generator of the support settings, or of an existing bank's."""
        given, known = options.get("support"), support_of(options.get("bank"))
        if isinstance(given, SupportSettings):
            return given.generator
        return (given or {}).get("generator", known.generator if known is not None else None)

    def uses(self, words: bool | None = None) -> tuple[str, ...]:
        """The kinds of networks on which a result can depend, with the bank's extractors where the settings name none."""
        return self._uses(replace(self.settings, extractors=self._extractors), words)

    @property
    def _extractors(self) -> tuple[str, ...]:
        return self.settings.extractors or self.support.filled(self.networks).extractors or ()

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        """All that a result depends on; the bank by how its words were made, not by where it lies."""
        stuff = None if self.stuff is None else sorted(word.casefold() for word in self.stuff)
        made = {"bank": plain(self.bank.settings), "stuff": stuff}
        return super().identity(words) | made | {"words from": "caption" if self.own_bank else "bank"}

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        """Of each word's files in the bank; ``words`` None: of all, where the bank's words are looked for."""
        if words is None:
            return {} if self.own_bank else {word: entry.digest for word, entry in self.bank.entries().items()}
        return {word: entry.digest for word in words if (entry := self.bank.get(word)) is not None}

    def trace(self, image: Image, words: Sequence[str] | None = None) -> Trace:
        """Segment one image and keep its steps."""
        steps = self.steps([image], words)[0]
        result = self.finish(steps)
        return Trace(result, partial(explain.body, steps, result, self), partial(explain.region, steps, result, self))

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        """The page of the steps on one image."""
        return explain.page(image, self, words, title)

    def _notes(self, steps: Steps) -> dict[str, Any]:
        filtered = steps.filtered
        return {
            "method": self.name,
            "bank": str(self.bank.folder),
            "candidates": [steps.words[label - 1] for label in steps.matching.labels if label],
            "prefilter": None if filtered is None else {"probabilities": filtered.probabilities, "prompts": filtered.prompts},
            "preset": self.networks.preset.name,
            "settings": asdict(self.settings) | {"support": self.bank.settings["support"]},
            "seed": self.settings.seed,
        }


Place = tuple[int, int, int, int]


def _alike(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Neighbouring windows of one size, at most ``CHUNK`` at once."""
    for _, group in groupby(places, key=lambda place: place[2:]):
        some = list(group)
        yield from (some[i : i + CHUNK] for i in range(0, len(some), CHUNK))

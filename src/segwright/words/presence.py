"""The words of a photo: what the user gave or the caption's nouns, and which of them are believed to be in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from segwright.errors import InputError
from segwright.types import Image
from segwright.words.candidates import Candidates, candidates
from segwright.words.nouns import Keyword, keywords
from segwright.words.prefilter import prefilter
from segwright.words.synonyms import split_names
from segwright.words.templates import PHOTO_OF

BACKGROUND = ("background", "nothing", "a plain background", "a pattern")
RULES = ("paper", "reference", "published", "prefilter", "none")


class Networks(Protocol):
    """What is asked of ``segwright.weights.Networks`` here."""

    @property
    def diffusion(self) -> Any: ...

    @property
    def captioner(self) -> Any: ...
    @property
    def clip(self) -> Any: ...


@dataclass(frozen=True)
class Nouns:
    """How photos are captioned, and what of a caption becomes a word where none is given.

    Attributes:
        captions: "own": as the captioner's files say; "published": as FreeSeg-Diff's published code
            (``Captioner.published``).
        adjectives: "red car" is a word beside "car" (published code).
        distractors: names that compete with the caption's nouns and are never given (published code: VOC's).
    """

    captions: str = "own"
    adjectives: bool = False
    distractors: tuple[str, ...] = ()

    def words(self, keyword: Keyword) -> tuple[str, ...]:
        """The words of one keyword."""
        phrases = (f"{adjective} {keyword.word}" for adjective in keyword.adjectives) if self.adjectives else ()
        return (*phrases, keyword.word)


@dataclass(frozen=True)
class Chosen:
    """The words of one photo: all that compete, and which of them are believed to be in it.

    Attributes:
        caption: None where none was needed.
        keywords: the caption's nouns.
        words: the vocabulary; label i + 1 of the result is words[i].
        candidates: places of the words that are believed to be in the photo, ascending.
        filter: how the keywords picked them, for the rules "paper" and "reference".
        prompts: background prompts that compete beside the words.
    """

    caption: str | None
    keywords: tuple[Keyword, ...]
    words: tuple[str, ...]
    candidates: tuple[int, ...]
    filter: Candidates | None = None
    prompts: tuple[str, ...] = ()

    @property
    def present(self) -> tuple[str, ...]:
        """The candidates' words."""
        return tuple(self.words[i] for i in self.candidates)


def check_rule(rule: str, known: Sequence[str] = RULES) -> None:
    """Refuse an unknown rule.

    Raises:
        InputError: not one of ``known``.
    """
    if rule not in known:
        raise InputError(f"candidates must be one of {', '.join(known)}, got {rule!r}")


def choose(
    networks: Networks,
    images: Sequence[Image],
    vocabulary: tuple[str, ...] | None,
    rule: str,
    background: tuple[str, ...] = BACKGROUND,
    *,
    captions: bool = False,
    how: Nouns = Nouns(),
) -> list[Chosen]:
    """The words of each photo.

    Args:
        vocabulary: the words given, checked; None: each photo's own, the nouns of its caption, all of them believed.
        rule: which of the words given are believed to be in a photo. "paper", "reference": those nearest to the caption's
            nouns by CLIP (``segwright.words.candidates``); "published": likewise by the diffusion model's text encoder, as
            FreeSeg-Diff's published code has it; "prefilter": those that CLIP sees (``segwright.words.prefilter``);
            "none": all.
        background: nouns that name nothing and are no words; they become ``Chosen.prompts``.
        captions: caption the photos even where the rule needs none.
        how: captions are made and read.
    """
    if vocabulary is not None and rule in ("none", "prefilter") and not captions:
        return [_without_caption(networks, image, vocabulary, rule) for image in images]
    texts = networks.captioner.published(images) if how.captions == "published" else networks.captioner.caption(images)
    return [
        _chosen(networks, image, text, vocabulary, rule, background=background, how=how)
        for image, text in zip(images, texts, strict=True)
    ]


def needed(rule: str, words: bool, captions: bool = False) -> tuple[str, ...]:
    """The kinds of networks that ``choose`` opens.

    Args:
        rule: as for ``choose``.
        captions: as for ``choose``.
        words: a vocabulary is given.
    """
    if not words:
        return ("captioner",)
    caption = captions or rule not in ("none", "prefilter")
    text = {"none": (), "published": ("diffusion",)}.get(rule, ("clip",))
    return (*text, *(("captioner",) if caption else ()))


def _without_caption(networks: Networks, image: Image, vocabulary: tuple[str, ...], rule: str) -> Chosen:
    return Chosen(None, (), vocabulary, _seen(networks, image, vocabulary, rule))


def _seen(networks: Networks, image: Image, vocabulary: tuple[str, ...], rule: str) -> tuple[int, ...]:
    if rule == "none":
        return tuple(range(len(vocabulary)))
    clip = networks.clip
    names, owners = split_names(vocabulary)
    return _owners(prefilter(clip.embed_images([image])[0], names, clip.embed_texts).kept, owners)


def _owners(found: Sequence[int], owners: Sequence[int]) -> tuple[int, ...]:
    """Places of words, ascending, whose names are at these places."""
    return tuple(sorted({owners[i] for i in found}))


def _chosen(
    networks: Networks,
    image: Image,
    caption: str,
    vocabulary: tuple[str, ...] | None,
    rule: str,
    *,
    background: tuple[str, ...],
    how: Nouns,
) -> Chosen:
    found = tuple(keywords(caption))
    if vocabulary is None:
        words = tuple(dict.fromkeys(w for k in found if k.word not in background for w in how.words(k)))
        rivals = (name for name in how.distractors if name not in words)
        return Chosen(caption, found, words, tuple(range(len(words))), None, (*background, *rivals))
    if rule in ("none", "prefilter"):
        return Chosen(caption, found, vocabulary, _seen(networks, image, vocabulary, rule))
    named = [k.word for k in found]
    names, owners = split_names(vocabulary)
    if rule == "published":
        embed = networks.diffusion.text_means
        sides = embed(named), embed(names, PHOTO_OF[0])
        picked = candidates(*sides, "reference", named, names)
    else:
        clip = networks.clip
        known = cast(Literal["paper", "reference"], rule)
        picked = candidates(clip.embed_texts(named), clip.embed_texts(names), known, named, names)
    return Chosen(caption, found, vocabulary, _owners(picked.classes, owners), picked)

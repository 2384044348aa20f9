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

BACKGROUND = ("background", "nothing", "a plain background", "a pattern")
RULES = ("paper", "reference", "prefilter", "none")


class Networks(Protocol):
    """What is asked of ``segwright.weights.Networks`` here."""

    @property
    def captioner(self) -> Any: ...
    @property
    def clip(self) -> Any: ...


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
) -> list[Chosen]:
    """The words of each photo.

    Args:
        vocabulary: the words given, checked; None: each photo's own, the nouns of its caption, all of them believed.
        rule: which of the words given are believed to be in a photo. "paper", "reference": those nearest to the caption's
            nouns (``segwright.words.candidates``); "prefilter": those that CLIP sees (``segwright.words.prefilter``);
            "none": all.
        background: nouns that name nothing and are no words; they become ``Chosen.prompts``.
        captions: caption the photos even where the rule needs none.
    """
    if vocabulary is not None and rule in ("none", "prefilter") and not captions:
        return [_without_caption(networks, image, vocabulary, rule) for image in images]
    texts = networks.captioner.caption(images)
    return [
        _chosen(networks, image, text, vocabulary, rule, background=background) for image, text in zip(images, texts, strict=True)
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
    clip, caption = rule != "none", captions or rule not in ("none", "prefilter")
    return (*(("clip",) if clip else ()), *(("captioner",) if caption else ()))


def _without_caption(networks: Networks, image: Image, vocabulary: tuple[str, ...], rule: str) -> Chosen:
    return Chosen(None, (), vocabulary, _seen(networks, image, vocabulary, rule))


def _seen(networks: Networks, image: Image, vocabulary: tuple[str, ...], rule: str) -> tuple[int, ...]:
    if rule == "none":
        return tuple(range(len(vocabulary)))
    clip = networks.clip
    return prefilter(clip.embed_images([image])[0], vocabulary, clip.embed_texts).kept


def _chosen(
    networks: Networks, image: Image, caption: str, vocabulary: tuple[str, ...] | None, rule: str, *, background: tuple[str, ...]
) -> Chosen:
    found = tuple(keywords(caption))
    if vocabulary is None:
        words = tuple(k.word for k in found if k.word not in background)
        return Chosen(caption, found, words, tuple(range(len(words))), None, background)
    if rule in ("none", "prefilter"):
        return Chosen(caption, found, vocabulary, _seen(networks, image, vocabulary, rule))
    clip = networks.clip
    named = [k.word for k in found]
    known = cast(Literal["paper", "reference"], rule)
    picked = candidates(clip.embed_texts(named), clip.embed_texts(vocabulary), known, named, vocabulary)
    return Chosen(caption, found, vocabulary, picked.classes, picked)

"""Prompt templates: a sentence with ``{}`` where the word goes.

Averaging the text embeddings of many templates ("prompt ensembling") steadies a class's embedding: CLIP paper, Sec. 3.1.4.
The wording is what was published, slips of grammar ("a origami {}.") included: figures were measured with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from segwright.errors import InputError

# "{}" alone: the bare name, as FreeSeg-Diff's published implementation classifies masks.
PLAIN = ("{}",)
# CLIP paper, Sec. 3.1.4 ("A photo of a {label}."), without the stop.
PHOTO = ("A photo of a {}",)
# G4Seg, the prompt of its one-step reconstruction (method notes: "A photo of {c}"); also FreeSeg-Diff's published class prompt.
PHOTO_OF = ("A photo of {}",)
# OVDiff, Sec. 3.2 (support sets); and its category pre-filter's "a {}".
GOOD_PICTURE = ("A good picture of a {}",)
ARTICLE = ("a {}",)

# OpenAI's CLIP repository, notebooks/Prompt_Engineering_for_ImageNet.ipynb: the 80 templates. Its order.
IMAGENET_80 = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)

# The same notebook: the seven that forward selection picked from the 80.
CLIP_7 = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

# GroupViT's "subset", which TCL evaluates with too: CLIP's seven, but for "a bad photo of a {}.".
GROUPVIT_7 = ("itap of a {}.", "a bad photo of a {}.", *CLIP_7[2:])

# MaskCLIP (ECCV 2022), after ViLD (Gu et al. 2022): five more about a scene, on top of the 80.
SCENE_5 = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
MASKCLIP_85 = (*IMAGENET_80, *SCENE_5)

TEMPLATES = {
    "plain": PLAIN,
    "article": ARTICLE,
    "photo": PHOTO,
    "photo-of": PHOTO_OF,
    "good-picture": GOOD_PICTURE,
    "clip7": CLIP_7,
    "groupvit7": GROUPVIT_7,
    "imagenet80": IMAGENET_80,
    "maskclip85": MASKCLIP_85,
}

# Spelt with a vowel, spoken with a consonant ("a unicycle"); and the other way round ("an hour").
_CONSONANT_SOUND = re.compile(r"(?:eu|ew|one\b|once|ouija|u(?:[bcfks][aeiou]|til|tens|rin)|uni(?!n|m)|u(?:fo|sb|hf|hd|v)\b)")
_VOWEL_SOUND = re.compile(r"(?:hour|honest|honou?r|heir|(?:x|mri|mp3|suv|lcd|led|atm|sd|lp|rv|fm)(?:\b|-))")


def article(word: str) -> str:
    """The article, "a" or "an", by the sound that ``word`` starts with: an umbrella, a unicycle, an hour, a tv, an SUV."""
    text = word.strip().lower()
    if _VOWEL_SOUND.match(text):
        return "an"
    return "an" if text[:1] in tuple("aeiou") and not _CONSONANT_SOUND.match(text) else "a"


def fill(template: str, word: str, articles: bool = False) -> str:
    """``template`` with ``word`` in place of ``{}``.

    Args:
        template: text with exactly one ``{}``.
        word: anything; braces in it are kept as they are.
        articles: put "an" for an "a" that stands right before ``{}`` where the word's sound asks for it ("an umbrella").
            Off, the sentence is the literal one that published figures were measured with ("a umbrella").

    Raises:
        InputError: the template has no ``{}``, or several.
    """
    if template.count("{}") != 1:
        raise InputError(f"expected a template with {{}} once where the word goes, got {template!r}; e.g. 'a photo of a {{}}'")
    if articles and article(word) == "an":
        template = re.sub(r"\b([Aa]) \{\}", r"\1n {}", template)
    return template.replace("{}", word)


def fill_all(templates: Iterable[str], word: str, articles: bool = False) -> tuple[str, ...]:
    """``fill`` for each template, in their order."""
    return tuple(fill(template, word, articles) for template in templates)

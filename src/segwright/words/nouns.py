"""A caption's nouns (FreeSeg-Diff, Sec. 3.1.1: "straightforward NLP techniques to analyze the caption and extract its nouns").

Parts of speech come from TextBlob's lexicon tagger, singulars from lemminflect; both work without the network. The tagger
knows nothing of photos, so known names (the benchmarks' classes) and a few rules of context mend its slips.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from segwright.words import english
from segwright.words.vocabulary import NAMES, load

_TOKEN = re.compile(r"[^\W_]+(?:-[^\W_]+)*|['’]s\b|[^\w\s]")
_ARTICLES = english.listed("a an the this that these those some no every his her its their my your our")
_CLAUSE_STARTERS = english.listed("that while as than if because since until when before after like up out")
_BE = english.listed("is are was were be been being 's")
_BEFORE_NOUN = ("DT", "JJ", "CD", "POS", "PRP$")


@dataclass(frozen=True)
class Keyword:
    """A noun or noun compound of a caption.

    Attributes:
        word: singular, lower case, without adjectives ("car").
        text: as it stood in the caption, adjectives included ("Red cars").
        adjectives: the adjectives that were mapped to this noun, lower case ("red",).
    """

    word: str
    text: str
    adjectives: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Token:
    word: str  # lower case
    tag: str  # Penn Treebank
    start: int
    end: int
    name: str = ""  # the known name it is, singular, where it is one


def keywords(caption: str) -> list[Keyword]:
    """The things and stuff that a caption names, in order of appearance, each once.

    Nouns and noun compounds; adjectives are mapped to their head noun ("red car" -> car) unless they are part of a known
    compound ("potted plant", "hot dog"); plurals are made singular; words about the picture itself ("a picture of", "view",
    "front", "group") are left out. A caption without nouns gives an empty list.
    """
    tokens = _mend(_join_names(_tag(caption)))
    found: dict[str, Keyword] = {}
    i = 0
    while i < len(tokens):
        end = _phrase_end(tokens, i)
        keyword = _keyword(caption, tokens, i, end)
        if keyword is not None:
            found.setdefault(keyword.word, keyword)
        i = max(end, i + 1)
    return list(found.values())


def singular(word: str) -> str:
    """Singular of a noun: "buses" -> "bus", "people" -> "person"; words without another ("scissors") stay. Lower case only."""
    return word if word in english.PLURAL_ONLY else _lemma(word)


@cache
def _lemma(word: str) -> str:
    if word in english.SINGULARS:
        return english.SINGULARS[word]
    from lemminflect import getLemma

    lemmas = getLemma(word, upos="NOUN")
    return str(lemmas[0]) if lemmas else word


@cache
def known_names() -> frozenset[str]:
    """Names of the benchmarks' classes, official and ours, and the extra compounds: what is believed to be a noun."""
    names = {word for name in NAMES if name != "coco27" for word in load(name).words}
    official = {old for name in NAMES for old, _ in load(name).renamed}
    return frozenset(names | official | english.COMPOUNDS)


@cache
def _longest_name() -> int:
    return max(len(name.split()) for name in known_names())


def _tag(caption: str) -> list[_Token]:
    from textblob.en import tag

    spans = list(_TOKEN.finditer(caption))
    words = [span.group().lower().replace("’", "'") for span in spans]
    tags = [t for _, t in tag(" ".join(words), tokenize=False)] if words else []
    if len(tags) != len(words):  # the tagger split at a sign of its own markup: word by word, without context
        tags = [next((t for _, t in tag(word, tokenize=False)), "SYM") for word in words]
    tags = [t if w[0].isalnum() else "POS" if w == "'s" else "," if t == "," else "." for w, t in zip(words, tags, strict=True)]
    return [_Token(w, t, s.start(), s.end()) for w, t, s in zip(words, tags, spans, strict=True)]


def _join_names(tokens: list[_Token]) -> list[_Token]:
    """Known names of several words as one token, longest first; also a name that was written apart ("lap top")."""
    joined: list[_Token] = []
    i = 0
    while i < len(tokens):
        for n in range(min(_longest_name(), len(tokens) - i), 0, -1):
            part = tokens[i : i + n]
            name = _known(part)
            if name:
                tag = part[0].tag if n == 1 else "NN"
                joined.append(_Token(" ".join(t.word for t in part), tag, part[0].start, part[-1].end, name))
                break
        else:
            n = 1
            joined.append(tokens[i])
        i += n
    return joined


def _known(part: Sequence[_Token]) -> str:
    """The known name that these tokens are, singular; "" if none. Takes plurals by their form, whatever their tag."""
    head, last = [t.word for t in part[:-1]], part[-1].word
    one = _lemma(last) if head else singular(last)  # "glasses" stay, "wine glasses" do not
    for form in (last, one) if last.endswith("s") or last in english.SINGULARS else (last,):
        if " ".join([*head, form]) in known_names():
            return " ".join([*head, form])
        if len(part) == 2 and min(len(head[0]), len(form)) > 2 and head[0] + form in known_names():
            return head[0] + form
    return ""


def _mend(tokens: list[_Token]) -> list[_Token]:
    """Tags put right, left to right."""
    mended: list[_Token] = []
    for i, token in enumerate(tokens):
        after = tokens[i + 1 :]
        mended.append(replace(token, tag=_mended_tag(mended, token, after)))
    return mended


def _mended_tag(before: Sequence[_Token], token: _Token, after: Sequence[_Token]) -> str:
    """The tag of one token, from what it is and what stands around it."""
    tag, word = token.tag, token.word
    previous = before[-1] if before else None
    following = after[0].tag if after else "."
    noun_follows = following[:2] in ("NN", "JJ") or bool(after and after[0].name)
    if word in english.PERSONS:
        return "JJ" if noun_follows else "NN"
    if word in english.ADJECTIVES and not (word == "baby" and not noun_follows):
        return "JJ"
    if word in ("light", "dark") and after and after[0].word in english.ADJECTIVES:
        return "JJ"  # "light blue sky"
    if after and after[0].word in ("colored", "coloured") and tag == "NN":
        return "JJ"  # "cream colored couch"
    if tag[:2] in ("VB", "RB", "JJ") and token.name and not noun_follows and _may_be_noun(before, after, tag):
        return "NNS" if token.name != word else "NN"
    if tag in ("VB", "VBP", "VBZ") and previous is not None and _opens_noun(previous) and (tag, previous.tag) != ("VBZ", "JJ"):
        return "NNS" if tag == "VBZ" else "NN"  # "the tracks", "a stop"
    if tag == "JJ" and previous is not None and following in ("IN", ".", "VBG") and _ends_phrase(before, word):
        return "NN"  # "a wooden platter."
    if tag[:2] == "NN" and previous is not None and not token.name and _is_verb_after(before, previous, following):
        return "VB"
    return tag


def _opens_noun(token: _Token) -> bool:
    if token.tag == "IN":
        return token.word not in _CLAUSE_STARTERS
    return token.word in _ARTICLES or token.tag in ("PRP$", "JJ", "CD", "POS")


def _may_be_noun(before: Sequence[_Token], after: Sequence[_Token], tag: str) -> bool:
    """A known name that the tagger took for a verb or an adjective: is this a place for a noun?"""
    previous = before[-1] if before else None
    following = after[0] if after else None
    if tag == "JJ" and _between_adjectives(before, after):
        return False
    if previous is None:
        return following is None or following.tag in ("IN", "CC", ",", ".", "VBG", "VBZ", "VBP")
    if previous.tag == "NN" and tag in ("VB", "VBP", "VBZ"):  # "the train tracks", "a computer monitor"
        return following is None or following.tag in ("IN", "CC", ",", ".")
    if previous.tag in ("CC", ",", "TO") or previous.tag[:2] == "NN":
        listed = previous.tag in ("CC", ",") or bool(before[-2:-1] and before[-2].word in ("next", "close"))
        return listed and (following is None or following.tag in ("IN", "CC", ",", ".", "VBG", "VBN"))
    return _opens_noun(previous)


def _between_adjectives(before: Sequence[_Token], after: Sequence[_Token]) -> bool:
    """Listed among adjectives: "a red and orange (balloon)"."""
    left = len(before) > 1 and before[-1].tag in ("CC", ",") and before[-2].tag == "JJ"
    right = len(after) > 1 and after[0].tag in ("CC", ",") and after[1].tag == "JJ" and not after[1].name
    return left or right


def _ends_phrase(before: Sequence[_Token], word: str) -> bool:
    """An article, then adjectives only, then ``word``, which is none that is known: so it is their noun."""
    adjectives = [t for t in before if t.tag == "JJ"][-1:] == [before[-1]]
    opened = next((t.word in _ARTICLES for t in reversed(before) if t.tag != "JJ"), False)
    return adjectives and opened and word not in english.ADJECTIVES | english.QUANTIFIERS


def _is_verb_after(before: Sequence[_Token], previous: _Token, following: str) -> bool:
    """A verb: "is surfing", "is places next to" and, after a plural, "riders guide their", "people work behind"."""
    if previous.word in _BE:
        return not (before[-2:-1] and before[-2].tag == "EX")
    return previous.tag == "NNS" and following in ("IN", "PRP$", "DT", "TO", "RB")


def _phrase_end(tokens: Sequence[_Token], start: int) -> int:
    """Where the noun phrase that starts at ``start`` ends: adjectives, then nouns up to the first plural; start if none does."""
    i = start
    while i < len(tokens) and _is_adjective(tokens, i):
        i += 1
    nouns = i
    while i < len(tokens) and tokens[i].tag[:2] == "NN":
        i += 1
        if tokens[i - 1].tag == "NNS" or tokens[i - 1].word in english.MEASURES - english.HEADS_OF_COMPOUNDS:
            break
    return i if i > nouns else start


def _is_adjective(tokens: Sequence[_Token], i: int) -> bool:
    """An adjective, or a participle in an adjective's place ("a parked car", but not "a man riding horses")."""
    tag = tokens[i].tag
    if tag in ("VBN", "VBG"):
        return i > 0 and (tokens[i - 1].word in _ARTICLES or tokens[i - 1].tag in _BEFORE_NOUN)
    return tag[:2] == "JJ"


def _keyword(caption: str, tokens: Sequence[_Token], start: int, end: int) -> Keyword | None:
    """The keyword of one noun phrase, or None if it names nothing that can be seen."""
    phrase = tokens[start:end]
    nouns = [t for t in phrase if t.tag[:2] == "NN"]
    of = end < len(tokens) and tokens[end].word == "of"
    noun_next = end < len(tokens) and tokens[end].tag[:2] == "NN"
    while nouns and not nouns[-1].name and _names_no_thing(nouns[-1], len(nouns) == 1, of or noun_next):
        nouns.pop()  # "mountain view" -> mountain
    if not nouns or nouns[-1].word[0].isdigit() or len(nouns[-1].word) < 2:
        return None
    head = nouns[-1]
    if head.word == "glasses" and of:
        name = "glass"
    else:
        name = head.name or (singular(head.word) if head.tag in ("NNS", "NNPS") else head.word)
    word = " ".join([t.name or t.word for t in nouns[:-1]] + [name])
    described = [t for t in phrase if t.tag[:2] != "NN" and t.word not in english.QUANTIFIERS]
    return Keyword(word, caption[min(t.start for t in (*described, *nouns)) : head.end], tuple(t.word for t in described))


def _names_no_thing(token: _Token, single: bool, measures: bool) -> bool:
    """Nothing that can be seen: a word of the lists, or a measure ("a slice of"); "line" and "set" only when they stand alone."""
    words = {token.word, singular(token.word) if token.tag == "NNS" else token.word}
    if not single and words & english.HEADS_OF_COMPOUNDS:
        return False
    return bool(words & english.NOT_THINGS) or (single and measures and bool(words & english.MEASURES))

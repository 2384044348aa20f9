"""Label Studio's labelling configuration: which words, which control, which picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Xml

from segwright.errors import InputError
from segwright.runs.exports.label_studio import TAGS, Control
from segwright.words.synonyms import Word, names_of
from segwright.words.vocabulary import check_words, parse_words

LONGEST = 1_000_000  # characters


@dataclass(frozen=True)
class LabelConfig:
    """What a project asks for.

    Attributes:
        control: where regions go: the first BrushLabels, PolygonLabels or RectangleLabels.
        key: of a task's data, where the picture's address stands.
        labels: the control's, with their aliases as synonyms.
    """

    control: Control
    key: str
    labels: tuple[str, ...]

    def label_of(self, word: str) -> str:
        """The label under which a word's regions are shown: the one with that name, else the only one, else the word itself."""
        for label in self.labels:
            if word.casefold() in {name.casefold() for name in names_of(label)}:
                return str(label)
        return str(self.labels[0]) if len(self.labels) == 1 else word


def parse_config(text: str) -> LabelConfig:
    """A project's XML.

    Raises:
        InputError: no XML that is read here, or nothing in it that masks or boxes can be put in.
    """
    if not isinstance(text, str) or len(text) > LONGEST or "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.S):
        raise InputError("the labelling configuration must be XML without document type, up to a million characters")
    try:
        top = Xml.fromstring(text)
    except (Xml.ParseError, ValueError, RecursionError) as error:
        raise InputError(f"the labelling configuration is damaged ({error})") from None
    kinds = {tag: masks for masks, (_, tag) in TAGS.items()}
    images = {one.get("name", ""): one.get("value", "") for one in top.iter("Image")}
    for element in top.iter():
        if element.tag in kinds and element.get("toName") in images:
            control = Control(element.get("name", ""), str(element.get("toName")), kinds[element.tag])
            return LabelConfig(control, images[control.to].lstrip("$"), _labels(element))
    wanted = ", ".join(kinds)
    raise InputError(f"the labelling configuration has none of {wanted} for an Image; add one")


def typed_words(context: Mapping[str, Any]) -> tuple[str, ...]:
    """The words in the context's TextArea; none where there is no such text.

    Raises:
        InputError: unusable words.
    """
    result = context.get("result")
    texts: list[str] = []
    for one in result if isinstance(result, list) else []:
        value = one.get("value") if isinstance(one, Mapping) and one.get("type") == "textarea" else None
        text = value.get("text") if isinstance(value, Mapping) else None
        texts += [text] if isinstance(text, str) else [part for part in text or [] if isinstance(part, str)]
    joined = ",".join(text for text in texts if text.strip())
    return parse_words(joined) if joined else ()


def _labels(element: Xml.Element) -> tuple[str, ...]:
    """Each Label's value, with ``alias`` and ``predicted_values`` as further names; a name that two have stays the first's."""
    words: list[str] = []
    known: set[str] = set()
    for label in element.iter("Label"):
        value = label.get("value", "").strip()
        more = re.split("[,;]", f"{label.get('alias', '')},{label.get('predicted_values', '')}")
        names = [name for name in dict.fromkeys(one.strip() for one in [value, *more]) if name and name.casefold() not in known]
        if not value or value not in names:
            continue
        known |= {name.casefold() for name in names}
        words.append(Word(*names) if len(names) > 1 else value)
    return tuple(check_words(words)) if words else ()


def words_for(config: LabelConfig, context: Mapping[str, Any]) -> tuple[str, ...]:
    """What to look for: the words typed, else the labels.

    Raises:
        InputError: neither.
    """
    words: Sequence[str] = typed_words(context) or config.labels
    if not words:
        raise InputError("there are no words: give the control labels, or type words into a TextArea")
    return tuple(words)

"""Where a word stands among a prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def word_places(tokenizer: Any, prompt: str, word: str) -> tuple[int, ...]:
    """Places of ``word``'s tokens in the tokenized ``prompt`` (special tokens counted), its first occurrence; () if none.

    Args:
        tokenizer: a CLIP tokenizer.
        word: one or more whole words, as they stand in the prompt (case does not matter).
    """
    whole = list(tokenizer(prompt).input_ids)
    special = set(tokenizer.all_special_ids)
    part = [i for i in tokenizer(word).input_ids if i not in special]
    return _find(whole, part)


def _find(whole: Sequence[int], part: Sequence[int]) -> tuple[int, ...]:
    for start in range(len(whole) - len(part) + 1):
        if part and list(whole[start : start + len(part)]) == list(part):
            return tuple(range(start, start + len(part)))
    return ()

"""``segwright.prototypes``: a bank of words, made once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from segwright.errors import InputError
from segwright.methods.base import Progress
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.default_bank import ovdiff_networks
from segwright.methods.ovdiff.support import SupportSettings, make_words, open_bank, support_from
from segwright.words.vocabulary import check_words


def prototypes(
    words: Sequence[str],
    out: str | os.PathLike[str],
    *,
    stuff: Sequence[str] = (),
    support: SupportSettings | Mapping[str, Any] | None = None,
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
    progress: Progress | None = None,
) -> Bank:
    """Make OVDiff's prototypes of those words that a bank lacks; resumes.

    Args:
        out: the bank's folder, begun if there is none.
        stuff: which of the words are stuff (grass, sky), not things.
        support: how they are made, or the settings in which that differs from the bank's, or for a new one from the defaults.
        preset: as for ``segwright.load``.
        device: likewise.
        dtype: likewise.
        clip: likewise; None: ViT-B/16 where networks come from the hub (published code).
        captioner: likewise.
        vit: likewise.
        diffusion: likewise.
        progress: called with (word, pictures made, of so many).

    Raises:
        InputError: unusable words or settings, stuff that is not among the words, or a bank that was made with other settings.
        WeightsError: networks that cannot be loaded.
        OutputError: a bank that cannot be written.
    """
    named = check_words(words)
    if foreign := [word for word in stuff if word not in named]:
        raise InputError(f"{foreign[0]!r} is called stuff but is not among the words; add it to them")
    single = {"clip": clip, "captioner": captioner, "vit": vit, "diffusion": diffusion}
    networks = ovdiff_networks(preset, device, dtype, **{kind: name for kind, name in single.items() if name is not None})
    settings = support_from(support, out, networks)
    bank = open_bank(networks, out, settings)
    make_words(networks, bank, named, settings, tuple(stuff), progress=progress)
    return bank

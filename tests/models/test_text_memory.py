"""What CLIP remembers of texts is bounded in bytes, whatever the number of photos and word combinations."""

from __future__ import annotations

import sys
from itertools import chain, combinations
from types import SimpleNamespace

import numpy as np
import torch

from segwright.models.clip import MEMORY, Clip
from segwright.models.pixels import Pixels
from segwright.words.prefilter import TEMPLATE
from segwright.words.vocabulary import load

WIDTH = 512  # OpenAI's B/16 and B/32


class StandIn(Clip):
    """A text tower of no cost: each prompt's own random vector."""

    asked = 0

    def __init__(self) -> None:
        model = SimpleNamespace(config=SimpleNamespace(projection_dim=WIDTH), device=torch.device("cpu"))
        super().__init__(model, None, Pixels(224))

    def _texts_tower(self, prompts: list[str]) -> torch.Tensor:
        self.asked += len(prompts)
        return torch.nn.functional.normalize(torch.ones(len(prompts), WIDTH) + len(prompts[0]), dim=1)

    @property
    def bytes(self) -> int:
        """Vectors, keys, and the table itself."""
        vectors = sum(v.untyped_storage().nbytes() + sys.getsizeof(v) for v in self._texts.values())
        keys = sum(sys.getsizeof(word) + sys.getsizeof((word, key)) for word, key in self._texts)
        return vectors + keys + sys.getsizeof(self._texts)


def test_coco_over_many_photos_stays_under_64_megabytes() -> None:
    """80 words, another 8 of them seen in each photo: 255 prompts a photo, 120 photos more than fill the memory."""
    clip, words, draw = StandIn(), load("coco-object").words, np.random.default_rng(0)
    single = [TEMPLATE.format(word) for word in words]
    most = 0
    for _ in range(120):
        clip.embed_texts(single)
        seen = draw.choice(len(words), 8, replace=False).tolist()
        sets = chain.from_iterable(combinations(seen, n) for n in range(1, 9))
        clip.embed_texts([" and ".join(single[i] for i in chosen) for chosen in sets])
        most = max(most, clip.bytes)
    assert MEMORY / 2 < most < 64 * 2**20
    before = clip.asked
    clip.embed_texts(single)
    assert clip.asked == before, "the vocabulary outlives the photos' combinations"

"""Tokenizers of the miniature models, trained on the world's own captions."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, CLIPTokenizer

from segwright.mini.captions import BARE_GROUNDS, GROUNDS, NUMBERS, OPENINGS, PLACES, RELATIONS, SOMETHING, plural
from segwright.mini.finish import COLOUR_NAMES
from segwright.mini.scenes import STUFF, THINGS

CONTEXT = 32  # tokens of a text; captions have at most about 24
START, END = "<|startoftext|>", "<|endoftext|>"
TEMPLATES = (
    "{}", "a {}", "a photo of a {}", "A photo of a {}", "A photo of {}", "a picture of a {}", "A good picture of a {}",
    "a good picture of a {}", "a good photo of a {}", "a photograph of a {}", "a photo of the {}", "the {}",
)  # fmt: skip
BACKGROUND_WORDS = ("background", "nothing", "a plain background", "a pattern", SOMETHING)


def corpus() -> list[str]:
    """Every word that a caption or a prompt of the miniature world may hold."""
    texts = [t.format(w) for t in TEMPLATES for w in (*THINGS, *STUFF)]
    texts += (
        [o + "the" for o in OPENINGS] + [g.format("an") for g in GROUNDS] + [*BARE_GROUNDS, *BACKGROUND_WORDS, "a dog and a cat"]
    )
    texts += [f"a {c} one, {w}" for c in COLOUR_NAMES for w in THINGS]
    texts += [f"{n} {plural(w)}" for n in NUMBERS.values() for w in THINGS]
    texts += [f"a dog {r} a cat" for r in RELATIONS] + [f"a dog {at} the {p}" for p in PLACES for at in ("on", "at")]
    return texts


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-pair vocabulary in CLIP's layout, written to ``folder`` and read back by the class users load it with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    bpe.train_from_iterator(corpus() * 2, trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix="</w>", show_progress=False))
    merges = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = alphabet + [a + "</w>" for a in alphabet] + [a + b for a, b in merges] + [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(dict.fromkeys(tokens))}), "utf8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n", "utf8")
    settings = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT, "do_lower_case": True,
        "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf8")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def bert_tokenizer(folder: Path) -> BertTokenizer:
    """Whole words in BERT's layout, as BLIP's captioner reads them."""
    words = sorted({w for text in corpus() for w in text.lower().replace(",", " ,").split()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *words]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf8")
    tokenizer = BertTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return tokenizer

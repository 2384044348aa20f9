"""``segwright prototypes`` and ``segwright bank``: OVDiff's words, made once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from segwright.cli.listed import GENERATOR_NAMES, add_listed
from segwright.cli.options import EPILOG, add_networks, add_set, networks, split


def add(commands: Any) -> None:
    _add_prototypes(commands)
    _add_bank(commands)


def _add_prototypes(commands: Any) -> None:
    command = commands.add_parser("prototypes", help="make OVDiff's prototypes of words; resumes", epilog=EPILOG)
    command.add_argument("words", metavar='"dog, sofa"', help="what to make, separated by commas")
    command.add_argument("-o", "--out", required=True, metavar="BANK", help="the bank's folder, begun if there is none")
    add_networks(command)
    command.add_argument("--support", type=int, metavar="N", help="support pictures a word (default: 32)")
    command.add_argument("--batch", type=int, metavar="B", help="pictures made at once (default: 8)")
    about = "few-step weights that make the pictures, in 4 steps, in place of the preset's: %(listed)s"
    add_listed(command, GENERATOR_NAMES, "--generator", metavar="G", help=about)
    command.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the generator's, else the preset's; 30)")
    command.add_argument("--guidance", type=float, metavar="G", help="guidance scale (default: the preset's; 8)")
    command.add_argument("--scheduler", metavar="S", help="dpm++, unipc, ddim, pndm, lcm or euler (default: the preset's; dpm++)")
    command.add_argument("--extractors", metavar="E,E", help="of sd, clip, dino, mae (default: the preset's; sd,clip,dino)")
    command.add_argument("--proposals", metavar="P", help="attention, maskcut or sam (default: attention)")
    command.add_argument("--stuff", metavar='"grass, sky"', help="which of the words are stuff, not things")
    command.add_argument("--seed", type=int, help="default: 42")
    add_set(command, "any other setting, any number of times: parts=16, sampling.negative=blurry")
    command.set_defaults(run=_prototypes, resumes=True)


def _add_bank(commands: Any) -> None:
    inner = commands.add_parser("bank", help="look into a bank of prototypes, check it, take words out")
    steps = inner.add_subparsers(title="steps", metavar="STEP", required=True)
    show = steps.add_parser("show", help="a contact sheet of support pictures with their masks")
    show.add_argument("bank", metavar="BANK")
    show.add_argument("--words", metavar='"dog, sofa"', help="default: all")
    show.add_argument("-o", "--out", metavar="FILE.png", help="default: BANK/sheet.png")
    show.set_defaults(run=_show)
    verify = steps.add_parser("verify", help="check every file against its checksum; exit code 1 if anything is wrong")
    verify.add_argument("bank", metavar="BANK")
    verify.set_defaults(run=_verify)
    remove = steps.add_parser("remove", help="take a word out")
    remove.add_argument("word", metavar="WORD")
    remove.add_argument("bank", metavar="BANK")
    remove.set_defaults(run=_remove)


def _support(options: argparse.Namespace) -> dict[str, Any]:
    """In what the bank is to be made otherwise than by the defaults, or than an existing one was."""
    from segwright.methods.ovdiff.support import SupportSettings
    from segwright.settings import merged, read_settings, settings_tree

    given = {"pictures": options.support, "batch": options.batch, "proposals": options.proposals, "seed": options.seed}
    given["generator"] = options.generator
    given["extractors"] = None if options.extractors is None else split(options.extractors)
    given["sampling"] = {k: v for k in ("steps", "guidance", "scheduler") if (v := getattr(options, k)) is not None} or None
    chosen = {name: value for name, value in given.items() if value is not None}
    return merged(chosen, read_settings(options.settings, settings_tree(SupportSettings), "prototypes"))


def _prototypes(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segwright.methods.ovdiff.making import prototypes
    from segwright.words.vocabulary import parse_words

    made: dict[str, int] = {}
    with tqdm(unit="picture", disable=None, leave=False) as bar:

        def progress(word: str, count: int, of: int) -> None:
            if word not in made:
                bar.reset(of)
                bar.set_description(word)
            bar.update(count - made.get(word, 0))
            made[word] = count

        bank = prototypes(
            parse_words(options.words),
            options.out,
            stuff=split(options.stuff or ""),
            support=_support(options),
            preset=options.preset,
            device=options.device,
            dtype=options.dtype,
            progress=progress,
            **networks(options),
        )
    print(f"{bank.folder}: made {', '.join(made) or 'nothing new'}; it has {', '.join(bank.entries())}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from segwright.files.disk import atomic_write
    from segwright.files.html import image_bytes
    from segwright.methods.ovdiff.bank import Bank
    from segwright.methods.ovdiff.bank_sheet import bank_sheet

    bank = Bank.open(options.bank)
    for entry in bank.entries().values():
        print(f"{entry.word} ({entry.kind}): {bank.settings['support']['pictures']} pictures, {entry.folder}")
    sheet = bank_sheet(bank, split(options.words) if options.words else None)
    print(atomic_write(options.out or Path(options.bank) / "sheet.png", image_bytes(sheet)))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from segwright.methods.ovdiff.bank import Bank

    bank = Bank.open(options.bank)
    wrong = bank.verify()
    for sentence in wrong:
        print(f"segwright: {sentence}", file=sys.stderr)
    if not wrong:
        print(f"{bank.folder}: {len(bank.entries())} words, all files as they were made")
    return 1 if wrong else 0


def _remove(options: argparse.Namespace) -> int:
    from segwright.methods.ovdiff.bank import Bank

    Bank.open(options.bank).remove(options.word)
    print(f"removed {options.word} from {options.bank}")
    return 0

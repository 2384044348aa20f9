"""Kill ``segwright prototypes`` (SIGKILL) at random moments, start it again each time, compare the bank with one made at one go.

    python tests/kill_prototypes.py [--kills 20] [--seed 0]

Not part of the tests: it takes minutes. Exit code 0 if every tensor and every other file is the same.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = (
    *("-m", "segwright", "prototypes", "tv, apple, pizza, grass", "--stuff", "grass", "--preset", "mini", "--device", "cpu"),
    *("--support", "12", "--batch", "2", "--steps", "6"),
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *COMMAND, "-o", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        begun = time.time()
        if start(whole).wait():
            return 2
        seconds, done = time.time() - begun, 0
        print(f"at one go: {seconds:.0f} s, {len(files(whole))} files")
        for kill in range(options.kills):
            process = start(broken)
            try:
                process.wait(random.uniform(0.2, 0.7) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
            pictures = len(list(broken.glob("words/*/pictures/*.png")))
            words = len(list(broken.glob("words/*/word.json")))
            print(f"kill {kill + 1}: {pictures} pictures, {words} words", flush=True)
            if words == 4:  # nothing left to kill: another bank from the start
                if files(broken) != files(whole):
                    break
                subprocess.run(["rm", "-rf", str(broken)], check=True)
        if start(broken).wait():
            return 2
        same = files(broken) == files(whole)
        print(f"{done} kills; the banks are {'the same, byte for byte' if same else 'different'}")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

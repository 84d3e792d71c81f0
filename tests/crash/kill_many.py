"""Kill -9 index builds at random moments, go on with them, and hold the result against an unbroken build.

    python tests/crash/kill_many.py --kills 100 --seed 0

One build after another is killed again and again while a reader opens, reads and queries its index. Prints what it cost;
exits with 1 where a document was lost, a code differs, an index was not whole, or a reader failed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness import Server, content, make_corpus, versions
from toll import Toll, kill_at_random

KILLS_A_BUILD = 10


def main() -> int:
    """Parse the command line, run, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus and the moments")
    parser.add_argument("--rows", type=int, default=240, help="rows of the corpus")
    arguments = parser.parse_args()
    rng, toll, began = random.Random(arguments.seed), Toll(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(os.path.realpath(folder))
        with Server(place / "model") as server:
            corpus = make_corpus(place / "corpus", seed=arguments.seed, rows=arguments.rows)
            for name in ("first", "unbroken"):  # the second is timed: the first finds everything cold
                start = time.monotonic()
                server.finish("build", place / name, corpus=corpus)
            seconds, expected = time.monotonic() - start, content(place / "unbroken")
            segments = len(versions(place / "unbroken")) - 1
            print(f"unbroken build: {len(expected.rows)} documents in {segments} segments, {seconds:.1f} s")
            while toll.kills < arguments.kills and not toll.failed:
                kills = min(KILLS_A_BUILD, arguments.kills - toll.kills)
                kill_at_random(
                    server, corpus, place / "killed", expected, rng, toll, kills=kills, longest=0.7 * seconds
                )
                shutil.rmtree(place / "killed")
                print(f"  {toll.kills} kills, {toll.builds} builds", flush=True)
    for message in toll.messages[:10]:
        print(message, file=sys.stderr)
    print(
        f"kills {toll.kills}, resumes {toll.resumes}, builds {toll.builds}, indexes not whole {toll.broken}, lost documents {toll.lost}, "
        f"differing codes {toll.differing}, reads {toll.reads}, reader failures {toll.reader_failures}, {time.monotonic() - began:.0f} s"
    )
    return int(toll.failed)


if __name__ == "__main__":
    sys.exit(main())

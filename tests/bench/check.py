#!/usr/bin/env python3
"""Counts the instructions of the pipeline, and compares them with baseline.json.

Run by `make bench-check`. Time differs from run to run and from machine to
machine; instructions hardly do. Another compiler, or a processor without AVX2,
needs a baseline of its own: `--save` writes it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness import BENCH, ROOT, SYMBOLS

BASELINE = Path(__file__).with_name("baseline.json")
# Runs differ by a hundred-thousandth, by how the sets of fingerprints hash.
MARGIN = 0.02


def build():
    """The benchmark, with the names of its functions."""
    command = [*BENCH, "--no-run", "--message-format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | SYMBOLS, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, done.stdout.splitlines())
    return [message["executable"] for message in messages if message.get("executable")][-1]


def count(program, profile):
    """Instructions within `oplake_core::testing::pipeline`."""
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=oplake_core::testing::pipeline"]
    command += [f"--callgrind-out-file={profile}", program, "--once"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found or found[1] == "0":
        sys.exit(f"valgrind counted nothing:\n{done.stderr}")
    return int(found[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="make this the baseline")
    parser.add_argument("--profile", metavar="FILE", default="/dev/null", help="keep what callgrind_annotate reads")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("error: valgrind is not installed: bench-check counts instructions with it (apt-get install valgrind)")
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    counted = count(build(), options.profile)
    if options.save:
        BASELINE.write_text(json.dumps({"instructions": counted, "rustc": rustc}, indent=2) + "\n")
    baseline = json.loads(BASELINE.read_text())
    change = counted / baseline["instructions"] - 1
    print(f"{counted:,} instructions for 6,000 events: {change:+.2%} on the baseline")
    if rustc != baseline["rustc"]:
        print(f"the baseline is of {baseline['rustc']}, this is {rustc}")
    if change > MARGIN:
        sys.exit(f"error: more than {MARGIN:.0%} over the baseline; if that is as it must be, tests/bench/check.py --save")
    if change < -MARGIN:
        print("well below the baseline: tests/bench/check.py --save keeps what was won")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Attaches to targets under every load, and at every bad moment, and counts the harmed.

    tests/faults/run.py [--long|--short] [--attaches N] [--only REGEX] [--python ID] [--list]

For each line of the table: attaches tried; those that reloaded; those that pyhot refused or gave
up, the target being unchanged; targets harmed.  Harmed is a target that died, is stopped, traced,
has other signal masks or handlers, more descriptors, threads or mappings (but the agent), whose
own self-check finds a mistake, whose work stands still, or that is neither on the old nor on the
new code.  The exit status is 0 if none was.

--long tries at least 200 attaches for each load, on the interpreters of this machine in turn;
--short a few.  $PYHOT is the binary; the lines about pyhot killed at a named place need one built
with make FAULTS=1, $PYHOT_FAULTS_BINARY.
"""

import argparse
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(1, str(HERE))

import harness  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402


def build_native(directory):
    """native.c as a library for the victims; its path."""
    library = os.path.join(directory, "native.so")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-fPIC", "-shared", "-std=gnu11",
                    "-D_GNU_SOURCE", "-o", library, str(HERE / "native.c"), "-lpthread"],
                   check=True)
    return library


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


def microseconds(value):
    return "-" if value is None else "%d" % value


HEAD = "%-44s %6s %6s %8s %7s %9s %9s" % (
    "", "tried", "done", "refused", "harmed", "p50 us", "p99 us")


def line(name, tally):
    return "%-44s %6d %6d %8d %7d %9s %9s" % (
        name, tally.tried, tally.done, sum(tally.refused.values()), len(tally.harmed),
        microseconds(percentile(tally.stop_us, 50)), microseconds(percentile(tally.stop_us, 99)))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--attaches", type=int)
    parser.add_argument("--only")
    parser.add_argument("--python")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    scenarios = {name: scenario for name, scenario in SCENARIOS.items()
                 if re.search(options.only or "", name)}
    if options.list:
        print("\n".join(scenarios))
        return 0

    pythons = [python for python in harness.find_interpreters() if python.is_target
               and options.python in (None, python.id)]
    if not pythons:
        sys.exit("no such interpreter")
    count = options.attaches or (200 if options.long else 8)
    directory = tempfile.mkdtemp(prefix="pyhot-faults-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["FAULTS_NATIVE"] = build_native(directory)

    print("%s, %d attaches a line, on %s\n\n%s" % (
        harness.pyhot_path(), count, ", ".join(python.id for python in pythons), HEAD))
    total, reasons, start = None, {}, time.monotonic()
    for number, (name, scenario) in enumerate(scenarios.items()):
        if scenario.missing():
            print("%-44s skipped: %s" % (name, scenario.missing()), flush=True)
            continue
        turned = pythons[number % len(pythons):] + pythons[:number % len(pythons)]
        tally = scenario.run(turned, count, Path(directory) / ("line%d" % number), options.long)
        print(line(name, tally), flush=True)
        for what in tally.harmed:
            print("    harmed: " + what.replace("\n", "\n    "))
        for reason, times in tally.refused.items():
            reasons[reason] = reasons.get(reason, 0) + times
        total = tally if total is None else total + tally
    print("\n" + line("total", total))
    for reason, times in sorted(reasons.items(), key=lambda item: -item[1]):
        print("    refused %6d times: %s" % (times, reason))
    print("%d s" % (time.monotonic() - start))
    return 1 if total.harmed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Attaches to targets under every load, and at every bad moment, and counts the harmed.

    tests/faults/run.py [--attaches N] [--only REGEX] [--python ID,...] [--jobs N] [--list]

For each line of the table: attaches tried; those that reloaded; those that pyhot refused or gave
up, the target being unchanged; targets harmed.  Harmed is a target that died, is stopped, traced,
has other signal masks or handlers, more descriptors, threads or mappings (but the agent), whose
own self-check finds a mistake, whose work stands still, or that is neither on the old nor on the
new code.  The exit status is 0 if none was.

Each line takes the interpreters in turn.  --jobs lines run at once and are printed as they end.
Interrupted (Ctrl-C) it prints what it has counted; --only makes the rest.  $PYHOT is the binary;
the lines about pyhot killed at a named place need one built with make FAULTS=1,
$PYHOT_FAULTS_BINARY.
"""

import argparse
import atexit
import concurrent.futures
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
from scenarios import SCENARIOS, Scenario  # noqa: E402
from tally import Tally  # noqa: E402


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


def run_lines(scenarios, pythons, options, directory, total):
    """Runs and prints each line, adding to the total."""
    def run(number, scenario):
        turned = pythons[number % len(pythons):] + pythons[:number % len(pythons)]
        return scenario.run(turned, options.attaches, directory / ("line%d" % number), strict=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        lines = {}
        for number, (name, scenario) in enumerate(scenarios.items()):
            if scenario.missing():
                print("%-44s skipped: %s" % (name, scenario.missing()), flush=True)
            else:
                lines[pool.submit(run, number, scenario)] = name
        while lines:
            try:
                ended, _ = concurrent.futures.wait(
                    lines, return_when=concurrent.futures.FIRST_COMPLETED)
            except KeyboardInterrupt:
                Scenario.interrupted.set()  # each line ends after the attach it is at
                continue
            for future in ended:
                name, tally = lines.pop(future), future.result()
                total += tally
                if tally.tried:
                    print(line(name, tally), flush=True)
                for what in tally.harmed:
                    print("    harmed: " + what.replace("\n", "\n    "), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attaches", type=int, default=200)
    parser.add_argument("--only", default="")
    parser.add_argument("--python")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    scenarios = {name: scenario for name, scenario in SCENARIOS.items()
                 if re.search(options.only, name)}
    if options.list:
        print("\n".join(scenarios))
        return 0

    pythons = [python for python in harness.find_interpreters() if python.is_target]
    if options.python:
        found = {python.id: python for python in pythons}
        try:
            pythons = [found[name] for name in options.python.split(",")]
        except KeyError as error:
            sys.exit("no interpreter %s; there are %s" % (error, ", ".join(found)))
    if not scenarios or not pythons:
        sys.exit("no such line" if pythons else "no interpreter")
    directory = tempfile.mkdtemp(prefix="pyhot-faults-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["FAULTS_NATIVE"] = build_native(directory)

    print("%s, %d attaches a line, on %s\n\n%s" % (
        harness.pyhot_path(), options.attaches, ", ".join(python.id for python in pythons), HEAD),
        flush=True)
    total, start = Tally(), time.monotonic()
    run_lines(scenarios, pythons, options, Path(directory), total)
    print("\n" + line("total", total))
    for reason, times in total.refused.most_common():
        print("    refused %6d times: %s" % (times, ": ".join(
            filter(None, [reason, total.examples.get(reason)]))))
    print("%d s" % (time.monotonic() - start))
    if Scenario.interrupted.is_set():
        return 130
    return 1 if total.harmed else 0


if __name__ == "__main__":
    sys.exit(main())

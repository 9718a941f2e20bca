"""The hot-reload zoo: a corpus of cases kept outside this repository, with a runner of its own.

It is found at $PYHOT_ZOO or in ../shared/zoo beside the repository; without it the tests here are
skipped.  Each case starts a program, changes its source, attaches, and asks what a developer would
ask.
"""

import collections
import json
import os
import subprocess
import sys

import pytest

import harness

PLACES = [os.environ.get("PYHOT_ZOO"), harness.REPO.parent / "shared" / "zoo"]
ZOO = next((str(place) for place in PLACES
            if place and os.path.exists(os.path.join(str(place), "run_zoo.py"))), None)

pytestmark = pytest.mark.skipif(
    ZOO is None, reason="no zoo: set $PYHOT_ZOO, or put it at ../shared/zoo")


def run_zoo(python, directory, *options):
    out = directory / "zoo.json"
    command = " ".join(harness.pyhot_command()) + " attach {pid} {modules}"
    done = subprocess.run(
        [sys.executable, os.path.join(ZOO, "run_zoo.py"), "--reloader", "command", "--command",
         command, "--python", str(python), "--jobs", "2", "--out", str(out), *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=harness.clean_environment())
    assert done.returncode == 0, done.stdout
    return json.loads(out.read_text())["results"], done.stdout


def check(results, output):
    by_status = collections.Counter(result["status"] for result in results)
    assert by_status["pass"] > 0
    bad = ["%s %s: %s\n%s" % (result["status"], result["name"], result.get("why"),
                              json.dumps(result["log"], indent=1))
           for result in results if result["status"] not in ("pass", "skip")]
    assert not bad, "%d of %d\n%s\n\n%s" % (len(bad), len(results), output, "\n".join(bad))


def test_zoo(python, pyhot, tmp_path):
    if python.debug and not harness.LONG:
        pytest.skip("slow in a debug build: make long")
    check(*run_zoo(python, tmp_path))


def test_zoo_with_noise(any_python, pyhot, tmp_path):
    """Every save also changes something else, as ordinary saves do."""
    check(*run_zoo(any_python, tmp_path, "--noise"))

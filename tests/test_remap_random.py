"""gc.remap on random worlds (tests/remap_world/random_world.py): what is told of all objects is the same afterwards, and
where a step of the commit fails, all that can be seen of them is."""

import os

import pytest

import harness

PRELUDE = """
import gc, os, random, sys, weakref
sys.path.insert(0, %r)
import pyhot, random_world, snapshot

def known(o):
    try:
        return weakref.ref(o)
    except TypeError:
        return lambda: None

def each_world(check):
    "All that was made in a world is gone after it."
    first, last = map(int, sys.argv[1:])
    for seed in range(first, last):
        refs = []
        check(seed, refs)
        for _ in range(3):
            gc.collect()
        left = [str(ref())[:80] for ref in refs if ref() is not None]
        assert not left, (seed, left)

def hash_unknown(report):
    return any("only the program can compute" in held["where"] for held in report["held"])

def turn_of(world, refs, remap, where):
    "Can the world be remapped once more?"
    mapping = world.mapping()
    refs += map(known, [*mapping, *mapping.values()])
    before = random_world.tell(world, mapping)
    report = remap(world, mapping, where)
    if hash_unknown(report):  # a key of two members with a __hash__: it cannot be looked up
        return False
    for n, states in enumerate(zip(before, random_world.tell(world, {}))):
        assert states[0] == states[1], (where, n, states)
    return True

def in_turns(seed, refs, remap):
    world = random_world.World(seed)
    all(turn_of(world, refs, remap, (seed, turn)) for turn in range(3))
    world.end()
""" % os.path.join(os.path.dirname(os.path.abspath(__file__)), "remap_world")

WHOLE = PRELUDE + """
def remap(world, mapping, where):
    gc.collect()
    dry = pyhot.remap(mapping, dry_run=True)
    del random_world.calls[:]
    report = pyhot.remap(mapping)
    assert not random_world.calls, (where, set(random_world.calls))
    assert report["unresolved"] == report["unaccounted"] == 0, (where, report)
    for name in "references_rewritten", "migrated", "rehashed":
        assert dry[name] == report[name], (where, name, dry[name], report[name])
    return report

each_world(lambda seed, refs: in_turns(seed, refs, remap))
"""

FAILING = PRELUDE + """
snapshots = snapshot.Snapshot()

def attempt(mapping, step):
    os.environ["PYHOT_FAIL_AT"] = str(step)
    try:
        return pyhot.remap(mapping)
    except RuntimeError as error:
        assert str(error) == "injected failure", error
    finally:
        del os.environ["PYHOT_FAIL_AT"]

def remap(world, mapping, where):
    gc.collect()
    before = snapshots.take(world.nodes, mapping)
    some = random.Random(where[0])
    step = 0
    while True:
        step += some.randint(1, 60)
        report = attempt(mapping, step)
        if report:
            return report
        gc.collect()
        after = snapshots.take(world.nodes, mapping)
        assert after == before, (where, step, snapshot.differences(before, after))

each_world(lambda seed, refs: in_turns(seed, refs, remap))
"""


def test_random_worlds(python, run_script):
    run_script(python, WHOLE, "0", "400" if harness.LONG else "6",
               timeout=1200 if harness.LONG else harness.DEADLINE)


def test_random_worlds_after_a_failure(python, any_python, tmp_path):
    agent = os.environ.get("PYHOT_FAULTS_BINARY")
    if not agent:
        pytest.skip("no $PYHOT_FAULTS_BINARY: not built")
    if python is not any_python and not harness.LONG:
        pytest.skip("one interpreter; each in make long")
    first = "import sys; sys.path.insert(0, %r)" % os.path.dirname(agent)
    harness.run_script(python, first + FAILING, tmp_path, "0", "80" if harness.LONG else "4",
                       timeout=1800 if harness.LONG else harness.DEADLINE)

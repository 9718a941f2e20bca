"""gc.remap of what an extension's traverse function visits, or says it does: a word that is not
proven to be the field is not written, and what is not found is listed."""

import os
import subprocess

import pytest

import harness

@pytest.fixture
def victim(python, tmp_path):
    """A function that builds an extension for the interpreter and runs a script with it."""
    include = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
        stdout=subprocess.PIPE, text=True, check=True,
        env=harness.clean_environment()).stdout.strip()
    include = python.root + include
    if not os.path.exists(include + "/Python.h"):
        pytest.skip("no headers of this interpreter")

    def run(name, text):
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-I", include,
                        "-idirafter", os.path.dirname(include), "-o", str(tmp_path / (name + ".so")),
                        str(harness.VICTIMS / (name + ".c"))], check=True)
        return harness.run_script(python, text, tmp_path)

    return run


@pytest.mark.parametrize("how", range(8))  # as liar.c says
def test_nothing_is_written_that_is_not_proven(victim, how):
    victim("liar", """
import gc, sys
import liar, pyhot
how = %d
class Thing: pass
def old(): pass
old, new = Thing(), Thing()
hidden = (old,)
gc.disable()
liar.set_how(how)
objects = [liar.Liar(old, hidden), liar.Liar(old, old)]
for o in objects:
    gc.is_tracked(o)
before = sys.getrefcount(new)
report = pyhot.remap({old: new}, dry_run=True)
assert report["unresolved"] == 0 or report["held"], report
try:
    report = pyhot.remap({old: new})
except (RuntimeError, ValueError) as error:
    print(error)
else:
    moved = report["references_rewritten"]
    assert sys.getrefcount(new) == before + moved, (before, sys.getrefcount(new), report)
for o in objects:
    for x in o.held():
        assert type(x) in (Thing, tuple)
if how in (0, 5, 7):
    assert objects[1].held() == (new, new) and objects[0].held()[0] is new, report
if how == 2:    # one reference of each is nowhere to be seen
    assert report["unaccounted"] + report["unresolved"] + len(report["held"]) >= 1, report
liar.set_how(0)
del objects
gc.collect()
""" % how)


@pytest.mark.parametrize("n", [1, 3, 60])
def test_references_in_memory_behind_pointers(victim, n):
    victim("chest", """
import gc
import chest, pyhot
n = %d
class Thing: pass
old, new = [Thing() for _ in range(n)], [Thing() for _ in range(n)]
chests = [chest.Chest(*old) for _ in range(3)]
report = pyhot.remap(dict(zip(old[:], new)))
assert report["unresolved"] == report["unaccounted"] == 0, report
assert all(c.held() == new for c in chests)
del chests
gc.collect()
""" % n)


def test_what_only_a_replaced_class_has_is_left(victim):
    """As pydantic's validators: it goes with the class, and is not searched for."""
    victim("chest", """
import chest, pyhot
def old(): pass
def new(): pass
shared = chest.Chest(old)
class Old:
    own, seen = chest.Chest(old), shared
class New: pass
report = pyhot.remap({Old: New, old: new})
assert report["unresolved"] == report["unaccounted"] == 0 and not report["held"], report
assert shared.held() == [new] and report["by_kind"]["field"] == 1, report
""")

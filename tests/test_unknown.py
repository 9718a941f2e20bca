"""Versions and builds that pyhot has never seen: what it believes is tried first."""

import os

import pytest

import conftest
import harness

MODULE = "def answer():\n    return 1\n"
FILES = {"mod.py": MODULE, "app.py": "import ctypes, gc, mod, probe\nprobe.ready()\n"
                                     "probe.threading.Event().wait()\n"}
BELIEFS = {"types": "types", "counts": "references are counted", "builtins": "built-in functions",
           "members": "member descriptors", "dicts": "dicts", "sets": "sets", "hashes": "hashed",
           "keys": "instances share", "frames": "frames", "weakrefs": "weak references",
           "variables": "context variables", "collector": "collector's lists",
           "finalized": "finalized objects"}
NEWEST = max((python for python in conftest.TARGETS if not python.debug),
             key=lambda python: python.version)


def believed(python):
    return [belief for belief in BELIEFS
            if not (belief == "keys" and python.minor < (3, 11)
                    or belief == "frames" and python.minor > (3, 13)
                    or belief == "finalized" and python.minor < (3, 9))]


def pytest_generate_tests(metafunc):
    if "belief" in metafunc.fixturenames:
        pairs = [(python, belief) for python in sorted({conftest.TARGETS[0], NEWEST}, key=str)
                 for belief in believed(python)]
        metafunc.parametrize("end, belief", pairs,
                             ids=["%s-%s" % (python.id, belief) for python, belief in pairs])


def test_wrong_layout(end, start, monkeypatch, belief):
    """Each belief made wrong by a word: the refusal names it, and the target lives."""
    faults = os.environ.get("PYHOT_FAULTS_BINARY")
    if not faults:
        pytest.skip("$PYHOT_FAULTS_BINARY is not a pyhot built with make FAULTS=1")
    monkeypatch.setenv("PYHOT", faults)
    target = start(end, FILES, env={"PYHOT_WRONG": belief})
    target.edit("mod.py", MODULE.replace("1", "2"))
    done = target.attach("mod")
    assert done.returncode == 3, done.stdout + target.describe()
    error = done.report["error"]
    assert error["code"] == "unknown-python" and BELIEFS[belief] in error["message"], error
    assert target.eval("mod.answer()") == 1
    target.check_unharmed()


def pretend(target, version):
    """The interpreter says another version of itself, inside and outside."""
    hexadecimal = 0x03000000 | version << 16 | 0xf0
    target.exec("api = ctypes.pythonapi\n"
                "api.Py_GetVersion.restype = ctypes.c_void_p\n"
                "text = ctypes.string_at(api.Py_GetVersion())\n"
                "new = b'3.%d.0' + text[text.index(b' '):] + b'\\0'\n"
                "ctypes.memmove(api.Py_GetVersion(), new, len(new))\n"
                "offsets = ctypes.addressof(ctypes.c_char.in_dll(api, '_PyRuntime'))\n"
                "ctypes.c_uint64.from_address(offsets + 8).value = %d\n" % (version, hexadecimal))


def test_newer_version(start):
    """Nothing is known of it; all beliefs hold, so it works, and the report says so."""
    if NEWEST.minor < (3, 15):
        pytest.skip("what a newer one is like is told by 3.15")
    target = start(NEWEST, FILES)
    pretend(target, 16)
    target.edit("mod.py", MODULE.replace("1", "2"))
    report = target.reload("mod")
    assert report["python"] == "3.16.0" and "3.16.0 is newer than 3.15" in report["note"]
    assert target.eval("mod.answer()") == 2
    assert "note: CPython 3.16.0" in harness.run_pyhot("list-stale", target.pid,
                                                       json_report=False).stdout
    target.check_unharmed()


def test_newer_version_that_is_another(start):
    """A version whose collector is not what the newest known one's is."""
    python = next((python for python in conftest.TARGETS if python.minor == (3, 13)
                   and python.root and not python.debug), None)
    if not python:
        pytest.skip("no CPython 3.13 of Debian's")
    target = start(python, FILES)
    pretend(target, 16)
    done = target.attach("mod", "--force")
    assert done.returncode == 3, done.stdout
    assert "3.16.0" in done.report["error"]["message"]
    target.check_unharmed()

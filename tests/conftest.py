"""Fixtures.  `python` runs a test on every CPython of this machine that pyhot supports."""

import os

import pytest

import harness

FOUND = harness.find_interpreters()
# Debug builds take twice as long; one is always there.
LEFT_OUT = [interpreter for interpreter in FOUND
            if interpreter.is_target and interpreter.debug and interpreter.root
            and not harness.LONG]
TARGETS = [interpreter for interpreter in FOUND
           if interpreter.is_target and interpreter not in LEFT_OUT]
OTHERS = [interpreter for interpreter in FOUND if not interpreter.is_target]
ABSENT = [minor for minor in harness.SUPPORTED
          if minor not in {interpreter.minor for interpreter in TARGETS}]


def _unique_ids(interpreters):
    ids = []
    for interpreter in interpreters:
        name, n = interpreter.id, 1
        while name in ids:
            n += 1
            name = "%s-%d" % (interpreter.id, n)
        ids.append(name)
    return ids


def _name(minor):
    return "%d.%d" % minor


def pytest_report_header():
    lines = ["pyhot: %s" % harness.pyhot_path()]
    lines += ["target %-16s %s" % (name, interpreter.path)
              for name, interpreter in zip(_unique_ids(TARGETS), TARGETS)]
    lines += ["other  %-16s %s" % (name, interpreter.path)
              for name, interpreter in zip(_unique_ids(OTHERS), OTHERS)]
    lines += ["left to make long: %s %s" % (interpreter.id, interpreter.path)
              for interpreter in LEFT_OUT]
    lines.append("not on this machine, so skipped: "
                 + (", ".join("CPython " + _name(minor) for minor in ABSENT) or "none"))
    return lines


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", TARGETS, ids=_unique_ids(TARGETS), scope="session")
    if "other_python" in metafunc.fixturenames:
        metafunc.parametrize("other_python", OTHERS, ids=_unique_ids(OTHERS), scope="session")
    if "supported_version" in metafunc.fixturenames:
        metafunc.parametrize("supported_version", harness.SUPPORTED,
                             ids=list(map(_name, harness.SUPPORTED)))


SLOW = ("test_zoo.py", "test_faults.py", "test_build.py")


def pytest_collection_modifyitems(items):
    """What takes long comes first: at the end of the run no worker waits for another."""
    items.sort(key=lambda item: item.path.name not in SLOW)


@pytest.fixture(autouse=True)
def record_refusals(record_property):
    """For scripts/support-table."""
    del harness.refusals[:]
    yield
    for refusal in harness.refusals:
        record_property("refusal", refusal)


@pytest.fixture(scope="session")
def pythons():
    """All that pyhot supports, for tests that need one of them or compare several."""
    return TARGETS


@pytest.fixture(scope="session")
def any_python():
    """One interpreter for what does not depend on the version: Debian's, else the newest."""
    for interpreter in TARGETS:
        if interpreter.path.startswith("/usr/bin/") and not interpreter.debug:
            return interpreter
    return TARGETS[-1]


@pytest.fixture(scope="session")
def pyhot():
    """Path of the binary under test."""
    path = harness.pyhot_path()
    assert os.access(path, os.X_OK), "%s: not built; run make, or set $PYHOT" % path
    return path


@pytest.fixture(scope="session")
def agent_path():
    """Path of the agent, which is also the extension module `pyhot`."""
    path = harness.agent_path()
    assert os.path.exists(path), "%s: not built; run make, or set $PYHOT_AGENT" % path
    return path


@pytest.fixture
def run_script(agent_path, tmp_path):
    """run_script(python, text, *arguments, env=None, timeout=60, status=0): runs a script in
    which `import pyhot` works, and returns its output."""
    def run(python, text, *arguments, **options):
        return harness.run_script(python, text, tmp_path, *arguments, **options)
    return run


@pytest.fixture
def start(tmp_path):
    """start(python, files, **options): a running harness.Target, killed after the test."""
    targets = []

    def start(python, files, **options):
        directory = options.pop("directory", tmp_path / ("target%d" % len(targets)))
        target = harness.Target(python, directory, files, **options)
        targets.append(target)
        return target

    yield start
    for target in targets:
        target.kill()

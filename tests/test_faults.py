"""A few attaches under each load and at each bad moment; `make faults` makes hundreds."""

import os
import sys

import pytest

import conftest
import harness

sys.path.insert(1, str(harness.TESTS / "faults"))

import run  # noqa: E402
from loads import LOADS  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

ATTACHES = 4


@pytest.fixture(scope="session", autouse=True)
def native(tmp_path_factory):
    os.environ["FAULTS_NATIVE"] = run.build_native(str(tmp_path_factory.mktemp("native")))


QUICK = [name for name in SCENARIOS if name not in LOADS or not LOADS[name].slow]


@pytest.mark.parametrize("number, name", enumerate(QUICK), ids=QUICK)
def test_no_target_is_harmed(pyhot, number, name, tmp_path):
    scenario = SCENARIOS[name]
    if scenario.missing():
        pytest.skip(scenario.missing())
    first = number % len(conftest.TARGETS)
    pythons = conftest.TARGETS[first:] + conftest.TARGETS[:first]
    tally = scenario.run(pythons, ATTACHES, tmp_path, strict=False)
    assert not tally.harmed, "\n".join(tally.harmed)
    assert tally.done or scenario.may_refuse_all, dict(tally.refused)

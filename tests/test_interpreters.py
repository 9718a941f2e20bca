"""What the other tests run on."""

import pytest

import conftest


def test_supported_version_is_tested(supported_version):
    """Names what is not covered on this machine: one skip for each absent version."""
    if supported_version in conftest.ABSENT:
        pytest.skip("no CPython %d.%d on this machine" % supported_version)


def test_python_answers(python, start):
    target = start(python, {"app.py": "import probe\nprobe.ready()\nimport time\n"
                                      "while True:\n    time.sleep(1000)\n"})
    assert tuple(target.eval("tuple(__import__('sys').version_info[:3])")) == python.version
    target.check_unharmed()


def test_edit_defeats_the_byte_code_cache(any_python, start):
    target = start(any_python, {"mod.py": "X = 1\n", "app.py": "import mod, probe\n"
                                "probe.ready()\nimport time\ntime.sleep(1000)\n"})
    target.edit("mod.py", "X = 2\n")
    target.exec("import importlib; importlib.reload(mod)")
    assert target.eval("mod.X") == 2


def test_oracle_sees_what_is_left_behind(any_python, start):
    target = start(any_python, {"app.py": "import probe\nprobe.ready()\nimport time\n"
                                          "time.sleep(1000)\n"})
    target.exec("leak = open('/dev/null')")
    with pytest.raises(AssertionError, match="descriptors"):
        target.check_unharmed(deadline=0.1)
    target.exec("leak.close()")
    target.exec("import threading; threading.Thread(target=time.sleep, args=(99,)).start()")
    with pytest.raises(AssertionError, match="threads"):
        target.check_unharmed(deadline=0.1)

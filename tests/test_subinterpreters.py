"""Several interpreters in one process: the main one is served, the others are told."""

import harness

MODULE = "def answer():\n    return 1\n"
APP = """
import mod, os, probe, sys
if sys.version_info >= (3, 13):
    import _interpreters as api
else:
    import _xxsubinterpreters as api
others = [api.create() for _ in range(3)]
def run(number, text):
    failed = api.run_string(others[number], "import sys; sys.path.insert(0, %r); " % os.getcwd() + text)
    assert not failed, failed
run(0, "import mod")
run(2, "import apart, json")
probe.ready()
probe.threading.Event().wait()
"""
FILES = {"mod.py": MODULE, "apart.py": MODULE, "app.py": APP}


def test_only_the_main_one_is_served(python, start):
    target = start(python, FILES)
    target.edit("mod.py", MODULE.replace("1", "2"))
    target.reload("mod")
    assert target.eval("mod.answer()") == 2
    if python.minor > (3, 8):  # there one collector serves all, and their functions are seen
        target.exec("run(0, 'assert mod.answer() == 1')")
    other = target.eval("int(others[2])")
    for command in "attach", "list-stale":
        done = harness.run_pyhot(command, target.pid, "apart")
        assert done.returncode == 3, done.stdout
        error = done.report["error"]
        assert error["code"] == "other-interpreter", error
        assert "interpreter %d" % other in error["message"] and "apart" in error["message"]
    error = target.attach("aparte").report["error"]
    assert error["code"] == "not-loaded"
    target.check_unharmed()

"""pyhot's own memory, checked while it works: by AddressSanitizer and UBSan, and by valgrind."""

import os
import shutil
import subprocess

import pytest

import harness

FILES = {"mod.py": "def answer():\n    return 1\n",
         "app.py": "import mod, probe\nprobe.ready()\nprobe.threading.Event().wait()\n"}
FOUND = 99  # the exit status of either checker


@pytest.fixture(scope="module")
def sanitized(pyhot, agent_path, tmp_path_factory):
    probe = tmp_path_factory.mktemp("probe") / "probe"
    if subprocess.run(["cc", "-fsanitize=address,undefined", "-xc", "-", "-o", probe],
                      input=b"int main(void) { return 0; }", stderr=subprocess.DEVNULL).returncode:
        pytest.skip("libasan and libubsan are not installed")
    # The agent and the stub run in the target: they are as in every build.
    build = tmp_path_factory.mktemp("sanitized")
    shutil.copy(agent_path, build / "pyhot.so")
    done = subprocess.run(
        ["make", "-s", "-j2", "B=%s" % build, "SANITIZE=address,undefined", "-o",
         build / "pyhot.so", build / "pyhot"], cwd=harness.REPO,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return [str(build / "pyhot")]


@pytest.fixture(scope="module")
def under_valgrind(pyhot):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    return ["valgrind", "-q", "--error-exitcode=%d" % FOUND, "--leak-check=full",
            "--errors-for-leak-kinds=definite", pyhot]


@pytest.mark.parametrize("checker", ["sanitized", "under_valgrind"])
def test_clean(start, any_python, checker, request):
    command = request.getfixturevalue(checker)
    if not harness.may_trace_anything():
        command = ["sudo", "-n", *command]
    target = start(any_python, FILES)
    target.edit("mod.py", "def answer():\n    return 2\nclass Added:\n    pass\n")
    no_python = subprocess.Popen(["sleep", "1000"])
    try:
        for arguments, status in [
                (["attach", target.pid, "mod", "--dry-run"], 0),
                (["attach", target.pid, "mod", "--verbose"], 0),
                (["attach", target.pid, "mod", "--force", "--json"], 0),
                (["attach", target.pid, "--stale"], 0),
                (["list-stale", target.pid, "--objects"], 0),
                (["ps"], 0), (["ps", "--json"], 0),
                (["attach", target.pid, "nomod"], 3), (["attach", no_python.pid, "mod"], 3),
                (["attach", 1 << 22, "mod"], 3), (["attach", target.pid], 2)]:
            done = subprocess.run(
                [*command, *map(str, arguments)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=dict(os.environ, ASAN_OPTIONS="exitcode=%d" % FOUND,
                         UBSAN_OPTIONS="print_stacktrace=1:exitcode=%d" % FOUND))
            assert done.returncode == status, (arguments, done.stdout, done.stderr)
    finally:
        no_python.kill()
        no_python.wait()
    target.check_unharmed()
    assert target.eval("mod.answer()") == 2

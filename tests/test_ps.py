"""`pyhot ps`, and what becomes of a report that cannot be written."""

import os
import signal
import subprocess

import harness

FILES = {"mod.py": "def answer():\n    return 1\n",
         "app.py": "import probe, mod\nprobe.ready()\nimport time\nwhile True:\n"
                   "    time.sleep(1000)\n"}


def shown(pid, report):
    found = [process for process in report["processes"] if process["pid"] == pid]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_interpreter_is_listed_with_its_version(python, start):
    target = start(python, FILES)
    done = harness.run_pyhot("ps")
    assert done.returncode == 0
    process = shown(target.pid, done.report)
    assert process["error"] is None
    assert process["python"].startswith(".".join(map(str, python.version)))
    assert "app.py" in process["command"]
    target.check_unharmed()


def test_text(any_python, start):
    target = start(any_python, FILES)
    done = harness.run_pyhot("ps", json_report=False)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["PID", "USER", "PYTHON", "COMMAND"]
    assert [line for line in lines if line[0] == str(target.pid)
            and line[2].startswith("%d.%d." % any_python.minor)]


def test_one_that_cannot_be_attached_to_is_listed_with_the_reason(any_python, start):
    target = start(any_python, FILES)
    os.kill(target.pid, signal.SIGSTOP)
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "T", "stopped")
    process = shown(target.pid, harness.run_pyhot("ps").report)
    os.kill(target.pid, signal.SIGCONT)
    assert process["python"] is None
    assert process["error"]["code"] == "stopped"
    assert process["error"]["hint"]


def test_other_programs_are_not_listed(pyhot):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        done = harness.run_pyhot("ps")
        process.stdin.close()
    assert shown(process.pid, done.report) is None


LOOPS = """
import time
go_on = True
class Worker:
    def run(self):
        while go_on:
            time.sleep(0.01)
def work():
    def local():
        while go_on:
            time.sleep(0.01)
    local()
"""
THREADS = """
import threading, time, loops, probe
for name, function in (("method", loops.Worker().run), ("function", loops.work)):
    threading.Thread(target=function, name=name, daemon=True).start()
probe.ready()
while True:
    time.sleep(1000)
"""


def on_old_code(threads):
    return {(thread["name"], frame["function"], frame["line"]): frame["old"]
            for thread in threads for frame in thread["frames"] if frame["old"]}


def test_where_threads_run_old_code(python, start):
    target = start(python, {"app.py": THREADS, "loops.py": LOOPS})
    pid = target.pid
    before = harness.run_pyhot("where", pid).report
    assert {thread["name"] for thread in before["threads"]} == {
        "MainThread", "method", "function", "probe"}
    assert not on_old_code(before["threads"])
    assert all(thread["tid"] in harness.proc_threads(pid) for thread in before["threads"])
    frame, = [thread["frames"][0] for thread in before["threads"] if thread["name"] == "MainThread"]
    assert (frame["function"], frame["line"]) == ("<module>", 7)
    assert frame["file"].endswith("app.py")

    target.edit("loops.py", LOOPS.replace("0.01", "0.02"))
    target.reload("loops")
    expected = {("method", "run"): "loops.Worker.run", ("function", "local"): "loops.work",
                ("function", "work"): "loops.work"}
    found = on_old_code(harness.run_pyhot("where", pid).report["threads"])
    assert {key[:2]: old for key, old in found.items()} == expected
    assert ("function", "work", 12) in found
    target.check_unharmed()


def test_ps_asks_only_those_that_were_attached_to(any_python, start):
    asked, other = (start(any_python, {"app.py": THREADS, "loops.py": LOOPS}) for _ in range(2))
    asked.edit("loops.py", LOOPS.replace("0.01", "0.02"))
    asked.reload("loops")
    report = harness.run_pyhot("ps", "-v").report
    assert len(on_old_code(shown(asked.pid, report)["threads"])) == 3
    assert shown(other.pid, report)["threads"] is None
    assert not [name for name in harness.Snapshot(other.pid).files_mapped() if "pyhot" in name]
    text = harness.run_pyhot("ps", "-v", asked.pid, other.pid, json_report=False).stdout
    assert "method (" in text and "): old code: run (%s:" % asked.path("loops.py") in text, text
    assert text.count("old code") == 3 and text.count("MainThread (") == 2, text
    for target in (asked, other):
        target.check_unharmed()


def test_ps_of_what_is_no_python(pyhot):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        done = harness.run_pyhot("ps", process.pid)
        process.stdin.close()
    assert done.returncode == 3 and done.report["error"]["code"] == "not-python"


def run_with_stdout(stdout, *arguments):
    return subprocess.run(harness.pyhot_command() + list(arguments), stdin=subprocess.DEVNULL,
                          stdout=stdout, stderr=subprocess.PIPE, text=True,
                          timeout=harness.DEADLINE)


def test_full_disk(pyhot):
    with open("/dev/full", "w") as full:
        done = run_with_stdout(full, "ps")
    assert done.returncode == 7
    assert "cannot write the report: No space left on device" in done.stderr


def test_reader_is_gone(pyhot):
    reader, writer = os.pipe()
    os.close(reader)
    done = run_with_stdout(writer, "ps")
    os.close(writer)
    assert done.returncode == 7
    assert "cannot write the report" in done.stderr


def test_stdout_is_closed(pyhot):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *harness.pyhot_command(), "ps"],
                          stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 7
    assert "cannot write the report" in done.stderr


def test_a_refusal_stays_a_refusal_when_its_report_is_lost(pyhot):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with open("/dev/full", "w") as full:
        done = run_with_stdout(full, "attach", str(gone.pid), "mod", "--json")
    assert done.returncode == 3


def test_a_shell_completes_the_modules_that_are_loaded(any_python, start):
    target = start(any_python, dict(FILES, **{"shop/__init__.py": "", "shop/cart.py": "",
                                              "shop/cash.py": "",
                                              "app.py": "import shop.cart\n" + FILES["app.py"]}))
    script = ("source %s; COMP_WORDS=(pyhot attach %d sho); COMP_CWORD=3; _pyhot; "
              "echo ${COMPREPLY[@]}" % (harness.REPO / "scripts/completions/pyhot.bash", target.pid))
    path = os.path.dirname(harness.pyhot_path()) + os.pathsep + os.environ["PATH"]
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, PATH=path))
    assert sorted(done.stdout.split()) == ["shop", "shop.cart"]
    target.check_unharmed()

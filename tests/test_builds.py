"""The same small reload on every way to build, install, start and set up a CPython.

A test is one build or situation; what is promised in each is the same (check).  docs/support.md is
made from these results.
"""

import glob
import os
import shutil
import subprocess

import pytest

import conftest
import harness

MODULE = """
RATE = 1
def answer():
    return 1
def outer():
    def inner():
        return 1
    return inner
class Cart:
    items = {}
    def total(self):
        return 1
"""
APP = """
import mod, probe
kept = [mod.answer, mod.Cart().total, mod.outer()]
table = {mod.Cart: mod.answer}
def values():
    return [f() for f in kept] + [mod.RATE, list(table) == [mod.Cart], table[mod.Cart]()]
"""
IDLE = "probe.ready()\nprobe.threading.Event().wait()\n"
FILES = {"mod.py": MODULE, "app.py": APP + IDLE}

OURS = [python for python in conftest.TARGETS if not python.root]
SHARED = [python for python in OURS if python.shared and not python.debug]
RELEASES = [python for python in conftest.TARGETS if not python.debug]
ENDS = sorted({RELEASES[0], RELEASES[-1]}, key=lambda python: python.version)
WITH_JIT = [python for python in conftest.TARGETS if python.minor >= (3, 14)]
NEWEST = max(conftest.TARGETS, key=lambda python: (python.version, not python.debug))


def pytest_generate_tests(metafunc):
    for name, pythons in (("end", ENDS), ("with_jit", WITH_JIT)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, pythons, ids=[python.id for python in pythons])


shared_only = pytest.mark.skipif(not SHARED, reason="no CPython with a shared libpython")


def check(target, pid=None):
    """Two reloads and a comparison; the target is as before."""
    pid = pid or target.pid
    for value in 2, 3:
        target.edit("mod.py", MODULE.replace("1", str(value)))
        done = harness.run_pyhot("list-stale", pid, "mod")
        assert [module["state"] for module in done.report["modules"]] == ["stale"], done.stdout
        done = harness.run_pyhot("attach", pid, "mod")
        assert done.returncode == 0, done.stdout + target.describe()
        assert done.report["remap"]["unaccounted"] == 0
        assert target.eval("values()") == [value] * 4 + [True, value]
    target.check_unharmed()


def copy(python, to):
    """A copy of the executable alone."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(python.executable, to)
    return to


def installation(python, prefix, rpath=None):
    """bin/ and lib/ of an installation somewhere else, the library's modules by a link."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    name = "python%d.%d" % python.minor
    program = copy(python, prefix / "bin" / name)
    old_lib = os.path.join(os.path.dirname(os.path.dirname(python.executable)), "lib")
    for library in glob.glob(old_lib + "/libpython%d.%d*.so.*" % python.minor):
        shutil.copy(library, prefix / "lib")
    os.symlink(os.path.join(old_lib, name), prefix / "lib" / name)
    subprocess.run(["patchelf", *(["--force-rpath"] if rpath else []), "--set-rpath",
                    rpath or str(prefix / "lib"), program], check=True)
    return program


# ---- How it was built

def features(python):
    """What its files show of how it was compiled; of LTO and PGO the debug information tells."""
    image = python.root + python.executable
    if python.shared:
        maps = subprocess.run([str(python), "-c", "print(open('/proc/self/maps').read())"],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        image = next(line.split()[-1] for line in maps.splitlines() if "/libpython" in line)
    found = ["shared" if python.shared else "static"] + ["debug"] * python.debug
    notes = subprocess.run(["readelf", "-n", image], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    build_id = notes.split("Build ID: ")[1].split()[0] if "Build ID: " in notes else "--"
    separate = "%s/usr/lib/debug/.build-id/%s/%s.debug" % (python.root, build_id[:2], build_id[2:])
    producers = subprocess.run(
        ["readelf", "-z", "-p", ".debug_str", separate if os.path.exists(separate) else image],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    found += [name for name, flag in (("LTO", b"-fltrans"), ("PGO", b"-fprofile-use"))
              if flag in producers]
    code = subprocess.run(["gdb", "-batch", "-nx", "-ex", "x/8xb PyObject_Str", image],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False).stdout
    if "0x55\t0x48\t0x89\t0xe5" in code:  # push %rbp; mov %rsp,%rbp
        found.append("frame pointers")
    return found


def test_any_build(python, start, record_property):
    """Static, shared, debug, LTO, PGO, of other distributions: whatever is on the machine."""
    record_property("features", ", ".join(features(python)))
    check(start(python, FILES))


def test_stripped(any_python, start, tmp_path):
    program = copy(any_python, tmp_path / "stripped")
    subprocess.run(["strip", "--strip-all", program], check=True)
    check(start(program, FILES))


@shared_only
def test_stripped_library(start, tmp_path):
    program = installation(SHARED[-1], tmp_path / "prefix")
    for library in (tmp_path / "prefix" / "lib").glob("*.so.*"):
        subprocess.run(["strip", "--strip-all", library], check=True)
    check(start(program, FILES))


EMBEDDING = """
#include <Python.h>
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
"""


@pytest.mark.parametrize("kind", ["-pie", "-no-pie"])
def test_embedded(any_python, start, tmp_path, kind):
    """CPython linked into a program of its own."""
    asked = ("import sysconfig as s; print(s.get_config_var('LIBPL'), s.get_path('include'),"
             "s.get_config_var('LIBS'), s.get_config_var('SYSLIBS'))")
    answer = subprocess.run([str(any_python), "-c", asked], stdout=subprocess.PIPE, text=True,
                            env=harness.clean_environment()).stdout.split()
    folder, include, libraries = answer[0], answer[1], answer[2:]
    archive = "%s/libpython%d.%d%s.a" % ((folder, *any_python.minor, "-pic" * (kind == "-pie")))
    if not os.path.exists(archive):
        pytest.skip("no %s" % archive)
    (tmp_path / "main.c").write_text(EMBEDDING)
    made = subprocess.run(["cc", kind, "-fPIE", "-I", include, "-rdynamic", tmp_path / "main.c",
                           archive, *libraries, "-lz", "-lexpat", "-lm", "-o", tmp_path / "service"],
                          stderr=subprocess.PIPE, text=True)
    if made.returncode:  # Debian's for 3.13 has no Hacl_Hash_SHA2
        pytest.skip("%s is of no use: %s" % (archive, made.stderr.strip().splitlines()[-2]))
    check(start(tmp_path / "service", FILES))


# ---- How it was installed

def test_renamed(any_python, start, tmp_path):
    target = start(copy(any_python, tmp_path / "myservice"), FILES)
    assert harness.proc_status(target.pid)["Name"] == "myservice"
    check(target)


def test_upgraded_under_the_process(any_python, start, tmp_path):
    """Another file is at the executable's path now."""
    program = copy(any_python, tmp_path / "python-copy")
    target = start(program, FILES)
    shutil.copy("/bin/true", tmp_path / "new")
    os.replace(tmp_path / "new", program)
    target.snapshot()
    check(target)


@shared_only
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_library_changed_under_the_process(start, tmp_path, how):
    program = installation(SHARED[-1], tmp_path / "prefix")
    target = start(program, FILES)
    for library in (tmp_path / "prefix" / "lib").glob("*.so.*"):
        if how == "replaced":
            shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", tmp_path / "new")
            os.replace(tmp_path / "new", library)
        else:
            library.unlink()
    target.snapshot()
    check(target)


@shared_only
def test_relocatable(start, tmp_path):
    """As conda and uv lay it out."""
    check(start(installation(SHARED[-1], tmp_path / "prefix", "$ORIGIN/../lib"), FILES))


def test_virtual_environment(any_python, start, tmp_path):
    subprocess.run([str(any_python), "-m", "venv", "--without-pip", tmp_path / "venv"], check=True,
                   env=harness.clean_environment())
    target = start(tmp_path / "venv" / "bin" / "python", FILES)
    target.exec("import sys")
    assert target.eval("sys.prefix != sys.base_prefix")
    check(target)


def test_mapped_twice(any_python, start):
    """The file of the interpreter, mapped once more as code by the program."""
    app = APP + ("import mmap, os\nfd = os.open('/proc/self/exe', os.O_RDONLY)\n"
                 "again = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\n")
    check(start(any_python, {"mod.py": MODULE, "app.py": app + IDLE}))


@shared_only
def test_second_library(start):
    """Another libpython was loaded with ctypes; it was never initialised."""
    other = next((python for python in SHARED if python.minor != SHARED[-1].minor), None)
    if not other:
        pytest.skip("only one CPython with a shared libpython")
    library = sorted(glob.glob(os.path.join(os.path.dirname(os.path.dirname(other.executable)),
                                            "lib", "libpython3.*.so.*")))[-1]
    app = APP + "import ctypes\nother = ctypes.CDLL(%r)\n" % library
    check(start(SHARED[-1], {"mod.py": MODULE, "app.py": app + IDLE}))


# ---- How it was started

def test_development_mode(end, start):
    check(start(end, FILES, command=("-X", "dev", "app.py")))


ISOLATED = "import sys\nsys.path[:0] = [%r, %r]\nimport runpy\nrunpy.run_path('app.py', None, '__main__')\n"


@pytest.mark.parametrize("options", ["-I", "-S -E -s", "-OO", "-B -u"])
def test_options(any_python, start, tmp_path, options):
    files = dict(FILES)
    files["start.py"] = ISOLATED % (str(tmp_path / "target0"), str(harness.VICTIMS))
    files["app.py"] = files["app.py"].replace(IDLE, "__main__ = sys.modules['__main__']\n"
                                              "__main__.values = values\n" + IDLE)
    files["app.py"] = "import sys\n" + files["app.py"]
    check(start(any_python, files, command=(*options.split(), "start.py")))


def test_from_standard_input(any_python, start):
    check(start(any_python, FILES, command=("-c", "exec(open('app.py').read())")))


# ---- Memory

@pytest.mark.parametrize("allocator", ["malloc", "debug", "malloc_debug", "pymalloc_debug"])
def test_allocator(any_python, start, allocator):
    check(start(any_python, FILES, env={"PYTHONMALLOC": allocator}))


@pytest.mark.parametrize("allocator", ["mimalloc", "mimalloc_debug"])
def test_mimalloc(start, allocator):
    if NEWEST.minor < (3, 13):
        pytest.skip("no CPython 3.13 or later on this machine")
    check(start(NEWEST, FILES, env={"PYTHONMALLOC": allocator}))


@pytest.mark.parametrize("library", ["jemalloc", "tcmalloc_minimal", "mimalloc"])
@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
def test_preloaded_allocator(any_python, start, library, allocator):
    found = glob.glob("/usr/lib/*/lib%s.so.*" % library)
    if not found:
        pytest.skip("no lib%s on this machine" % library)
    target = start(any_python, FILES, env={"PYTHONMALLOC": allocator, "LD_PRELOAD": found[0]})
    assert library in open("/proc/%d/maps" % target.pid).read()
    check(target)


def test_collector_switched_off(end, start):
    target = start(end, {"mod.py": MODULE, "app.py": APP + "import gc\ngc.disable()\n" + IDLE})
    check(target)
    target.exec("import gc")
    assert target.eval("gc.isenabled()") is False


WORKERS = APP + """
import gc, os, time
gc.collect()
gc.freeze()
for number in range(2):
    if not os.fork():
        while os.getppid() > 1:
            with open("worker%d.new" % number, "w") as file:
                file.write("%s %s" % (values(), gc.get_freeze_count() > 0))
            os.rename("worker%d.new" % number, "worker%d" % number)
            time.sleep(0.02)
        os._exit(0)
"""


def test_frozen_workers(end, start):
    """A server that has frozen its heap and forked."""
    target = start(end, {"mod.py": MODULE, "app.py": WORKERS + IDLE})
    target.edit("mod.py", MODULE.replace("1", "2"))
    done = target.attach("mod", "--tree")
    assert done.returncode == 0, done.stdout
    assert len(done.report["processes"]) == 3
    assert target.eval("values()") == [2] * 4 + [True, 2]
    for number in range(2):
        harness.wait_for(lambda: open(target.path("worker%d" % number)).read()
                         == "[2, 2, 2, 2, True, 2] True", "a worker with the new code")
    target.check_unharmed()


JIT = APP + """
import sys
def hot(n):
    total = 0
    for _ in range(n):
        total += mod.answer()
    return total
def values_hot():
    return [hot(5000) for _ in range(20)][-1]
values_hot()
"""


def test_jit(with_jit, start):
    """Machine code that the interpreter made of the old functions."""
    target = start(with_jit, {"mod.py": MODULE, "app.py": JIT + IDLE}, env={"PYTHON_JIT": "1"})
    target.exec("import sys")
    if not target.eval("getattr(sys, '_jit', None) is not None and sys._jit.is_enabled()"):
        pytest.skip("%s was built without its JIT" % with_jit.id)
    assert target.eval("values_hot()") == 5000
    check(target)
    assert target.eval("values_hot()") == 15000


# ---- Containers, other C libraries

# In a mount namespace and a root directory of its own, in which there is nothing but one CPython.
DISTROLESS = """#!/bin/sh
exec unshare --mount --propagation private sh -ec '
root=%(root)s
for path in %(paths)s; do
    mkdir -p "$root$path"; mount --bind "$path" "$root$path"; done
%(proc)s
exec chroot "$root" %(program)s "$@"' sh "$@"
"""


@pytest.fixture
def distroless(any_python, tmp_path):
    """distroless(proc): a program that starts CPython in a root without a shell."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a root directory")
    if any_python.shared:
        pytest.skip("no CPython without libpython")
    root = tmp_path / "root"
    libraries = subprocess.run(["ldd", any_python.executable], stdout=subprocess.PIPE, text=True)
    for path in [any_python.executable, *(word for word in libraries.stdout.split()
                                          if word.startswith("/"))]:
        to = root / path.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    library = "/usr/lib/python%d.%d" % any_python.minor

    def make(proc):
        script = tmp_path / "distroless"
        script.write_text(DISTROLESS % {
            "root": root, "program": any_python.executable,
            "paths": " ".join([library, str(harness.VICTIMS), str(tmp_path / "target0"), "/dev"]),
            "proc": 'mkdir -p "$root/proc"; mount -t proc proc "$root/proc"' if proc else ""})
        script.chmod(0o755)
        return script

    return make


def test_distroless(distroless, start, tmp_path):
    target = start(distroless(True), FILES, command=(str(tmp_path / "target0" / "app.py"),))
    assert os.listdir("/proc/%d/root/usr/bin" % target.pid) == [
        os.path.basename(os.readlink("/proc/%d/exe" % target.pid))]
    check(target)


def test_no_proc_inside(distroless, start, tmp_path):
    target = start(distroless(False), FILES, command=(str(tmp_path / "target0" / "app.py"),))
    refused(target.pid, "agent-not-loaded", "could not load the agent")
    target.check_unharmed()


def refused(pid, code, words):
    done = harness.run_pyhot("attach", pid, "mod", "--force")
    assert done.returncode == 3, done.stdout
    error = done.report["error"]
    assert error["code"] == code and words in error["message"] and "\n" not in error["message"]


@pytest.fixture
def imitation(tmp_path):
    """imitation(*compiler): the id of a process that looks from outside like a CPython 3.12."""
    processes = []

    def run(*compiler):
        if not shutil.which(compiler[0]):
            pytest.skip("no %s" % compiler[0])
        program = tmp_path / "python3.12"
        subprocess.run([*compiler, "-D_GNU_SOURCE", "-o", program,
                        harness.TESTS / "unit" / "fake_python.c"], check=True)
        processes.append(subprocess.Popen([program, "030c00f0", "0", "1", "0"],
                                          stdout=subprocess.PIPE))
        assert processes[-1].stdout.read(1) == b"r"
        return processes[-1].pid

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_musl(imitation):
    """No CPython for musl is to be had here: that it is told is what can be tested."""
    refused(imitation("musl-gcc", "-Wl,--export-dynamic"), "other-libc", "musl")


@pytest.mark.parametrize("compiler", ["cc", "musl-gcc"])
def test_static_executable(imitation, compiler):
    refused(imitation(compiler, "-static"), "no-loader", "linked statically")

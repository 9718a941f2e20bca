"""Targets that are shut in: other users, namespaces, filters, limits.  pyhot runs as root."""

import os
import shutil
import subprocess

import pytest

import harness

MODULE = "def answer():\n    return 1\n"
IDLE = "import probe\nprobe.ready()\nprobe.threading.Event().wait()\n"
FILES = {"mod.py": MODULE, "app.py": "import mod\n" + IDLE}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to shut a target in")


@pytest.fixture
def within(tmp_path):
    """within(python, commands): a script that starts `python` after the shell commands; the last
    of them must exec "$@"."""
    def write(python, commands):
        script = tmp_path / "within"
        script.write_text("#!/bin/sh\nset -e\nset -- %s \"$@\"\n%s\n" % (python, commands))
        script.chmod(0o755)
        return script
    return write


def check_reload(target):
    target.edit("mod.py", MODULE.replace("1", "2"))
    listed = harness.run_pyhot("list-stale", target.pid, "mod", "--objects")
    assert [module["state"] for module in listed.report["modules"]] == ["stale"], listed.stdout
    target.reload("mod")
    assert target.eval("mod.answer()") == 2
    target.check_unharmed()
    target.edit("mod.py", MODULE.replace("1", "3"))
    target.reload("mod")
    assert target.eval("mod.answer()") == 3
    target.check_unharmed()


def test_process_of_another_user(any_python, start, within, tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != directory.parent:
            directory.chmod(directory.stat().st_mode | 0o055)
    check_reload(start(within(any_python, 'exec setpriv --reuid 65534 --regid 65534 '
                                          '--clear-groups "$@"'), FILES))


def test_no_capabilities_no_new_privileges(any_python, start, within):
    check_reload(start(within(any_python, 'exec setpriv --bounding-set=-all --inh-caps=-all '
                                          '--no-new-privs "$@"'), FILES))


def test_not_dumpable(any_python, start):
    app = ("import ctypes, mod\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n" + IDLE)
    check_reload(start(any_python, {"mod.py": MODULE, "app.py": app}))


def test_user_namespace(any_python, start, within):
    if subprocess.run(["unshare", "--user", "--map-root-user", "true"]).returncode:
        pytest.skip("no user namespaces on this machine")
    check_reload(start(within(any_python, 'exec unshare --user --map-root-user "$@"'), FILES))


CONTAINER = r"""
exec unshare --mount --propagation private --net --ipc --uts --pid --fork --kill-child --mount-proc \
    sh -c 'mount --bind /tmp /tmp; mount -o remount,bind,ro,noexec /tmp
           mount -o remount,bind,ro /; exec "$@"' sh "$@"
"""


def test_container(python, start, within):
    """Namespaces of its own, the root read-only, nothing executable in /tmp."""
    if python.path != python.executable:
        pytest.skip("%s is in a root and a mount namespace of its own in every test" % python.id)
    target = start(within(python, CONTAINER), FILES)
    with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as children:
        (target.pid,) = map(int, children.read().split())
    assert "NSpid:\t%d\t1\n" % target.pid in open("/proc/%d/status" % target.pid).read()
    target.snapshot()
    check_reload(target)


def test_memory_files_may_not_be_executable(any_python, start, within):
    """vm.memfd_noexec=2, which a pid namespace has for itself."""
    if not os.path.exists("/proc/sys/vm/memfd_noexec"):
        pytest.skip("this kernel has no vm.memfd_noexec")
    script = """exec unshare --mount --pid --fork --kill-child --mount-proc \\
        sh -c 'echo 2 >/proc/sys/vm/memfd_noexec; exec "$@"' sh "$@"
    """
    target = start(within(any_python, script), FILES)
    with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as children:
        (target.pid,) = map(int, children.read().split())
    code = "__import__('os').memfd_create('x', 0x10)"  # MFD_EXEC
    with pytest.raises(AssertionError, match="PermissionError"):
        target.eval(code)
    target.snapshot()
    check_reload(target)


def test_seccomp_filter_of_containers(python, start):
    app = "import mod, seccomp\nseccomp.confine()\n" + IDLE
    target = start(python, {"mod.py": MODULE, "app.py": app})
    assert harness.proc_status(target.pid)["Seccomp"] == "2"
    check_reload(target)


def test_low_limits(any_python, start, within):
    """Few descriptors, no locked memory, no core file."""
    check_reload(start(within(any_python, 'ulimit -n 64; ulimit -c 0; ulimit -l 0; exec "$@"'),
                       FILES))


def test_no_file_may_grow(any_python, start, within):
    """RLIMIT_FSIZE also forbids the memory that the agent comes in."""
    target = start(within(any_python, 'ulimit -f 0; exec "$@"'), FILES)
    done = target.attach("mod", "--force")
    assert done.returncode == 3
    assert "File too large" in done.report["error"]["message"]
    target.check_unharmed()


def test_root_without_proc(any_python, start, tmp_path):
    """The loader opens the agent by a path in /proc."""
    if os.geteuid() != 0:
        pytest.skip("only root may call chroot")
    app = ("import os\nimport mod, probe\nos.makedirs('root/proc')\n"
           "os.chroot('root')\nos.chdir('/')\n" + IDLE)
    target = start(any_python, {"mod.py": MODULE, "app.py": app})
    done = target.attach("mod", "--force")
    assert done.returncode == 3 and "no /proc (chroot)" in done.report["error"]["hint"], done.report
    target.check_unharmed()


def test_own_executable_was_deleted(any_python, start, tmp_path):
    """An upgrade replaced the interpreter on disk while it runs."""
    copy = tmp_path / "python-copy"
    copy.write_bytes(open(any_python.executable, "rb").read())
    copy.chmod(0o755)
    target = start(copy, FILES)
    copy.unlink()
    target.snapshot()
    check_reload(target)


# The kernel's answer where yama forbids: to open mem asks what PTRACE_SEIZE asks.
FORBIDDING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    if (!strncmp(path, "/proc/", 6) && strlen(path) > 4 && !strcmp(path + strlen(path) - 4, "/mem")) {
        errno = EACCES;
        return -1;
    }
    return real(path, flags, 0600);
}
int open64(const char *, int, ...) __attribute__((alias("open")));
"""

# Puts a value where the kernel, which may have no yama, would tell it.
WITH_SCOPE = r"""
mount -t tmpfs none /proc/sys/kernel
mkdir /proc/sys/kernel/yama
echo %d > /proc/sys/kernel/yama/ptrace_scope
exec "$@"
"""


@pytest.mark.parametrize("scope, root, told, remedy", [
    (1, False, "1 (only a parent may trace)", "run pyhot as root (sudo), or: sudo sysctl"),
    (2, False, "2 (only root may trace)", "run pyhot as root (sudo)"),
    (3, False, "3 (nobody may trace until the next boot)", "in /etc/sysctl.d and reboot"),
    (3, True, "3 (nobody may trace until the next boot)", "in /etc/sysctl.d and reboot"),
])
def test_yama(any_python, start, within, tmp_path, scope, root, told, remedy):
    """Simulated, as the kernel of this machine may have none."""
    (tmp_path / "forbid.c").write_text(FORBIDDING)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "forbid.so", tmp_path / "forbid.c"],
                   check=True)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != directory.parent:
            directory.chmod(directory.stat().st_mode | 0o055)
    shutil.copy(harness.pyhot_path(), tmp_path / "pyhot")
    user = [] if root else ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    target = start(within(any_python, 'exec %s "$@"' % " ".join(user)), FILES)
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                           WITH_SCOPE % scope, "sh", *user,
                           "env", "LD_PRELOAD=%s" % (tmp_path / "forbid.so"), tmp_path / "pyhot",
                           "attach", str(target.pid), "mod"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 3, done
    error, hint = done.stderr.splitlines()
    assert error.endswith("may not be traced: kernel.yama.ptrace_scope is " + told), error
    assert remedy in hint, hint
    target.check_unharmed()

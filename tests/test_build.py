"""The build, the installation, the demo: what a user runs first."""

import os
import shutil
import subprocess
import sys

import pytest

import harness


def run(*command, **options):
    done = subprocess.run(command, cwd=harness.REPO, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def make_environment():
    """Without what an outer make says to the makes it starts."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}


def test_demo(pyhot):
    said = run(sys.executable, str(harness.REPO / "scripts" / "demo"), pyhot)
    assert "demo: all as it should be" in said


def test_demo_fails_without_a_reload():
    """The demo itself would notice if nothing was reloaded."""
    done = subprocess.run([sys.executable, str(harness.REPO / "scripts" / "demo"), "/bin/true"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "demo: FAILED" in done.stderr


def test_install_is_one_binary(pyhot, tmp_path):
    said = run("make", "-s", "install", "B=" + os.path.dirname(pyhot), "DESTDIR=%s" % tmp_path,
               "PREFIX=/opt/pyhot", env=make_environment())
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")
             if not path.is_dir()]
    assert "opt/pyhot/bin/pyhot" in files
    assert not [name for name in files if name.endswith(".so")]
    assert "pyhot" in run(str(tmp_path / "opt/pyhot/bin/pyhot"), "--version")
    assert "source /opt/pyhot/share/pyhot/pyhot-gdb.py\n" in said
    if shutil.which("gdb"):
        (tmp_path / "linked.py").symlink_to(tmp_path / "opt/pyhot/share/pyhot/pyhot-gdb.py")
        environment = make_environment()
        environment.pop("PYHOT", None)
        said = run("gdb", "-nx", "-batch", "-ex", "source %s" % (tmp_path / "linked.py"),
                   "-ex", "python print(pyhot_path())", env=environment)
        assert str(tmp_path / "opt/pyhot/bin/pyhot") in said


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compiles_without_warnings(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip("no %s on this machine" % compiler)
    if run("cc", "-dumpfullversion", "-dumpversion") == run(compiler, "-dumpfullversion",
                                                            "-dumpversion"):
        pytest.skip("make has built with %s, where a warning is an error" % compiler)
    # Its warnings need no optimizer.
    said = run("make", "-s", "all", "CC=" + compiler, "CFLAGS=-O0", "B=%s" % tmp_path,
               env=make_environment())
    assert "warning" not in said

#!/usr/bin/env python3
"""Is what agent/cpython/ and injector/ believe of CPython so in each interpreter of this machine?

For every interpreter with headers: our declarations are compiled behind its Python.h, sizes,
offsets and constants are compared, and the functions that the agent needs are looked up in it.

usage: layout.py CC BUILD-FOLDER
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))
import harness  # noqa: E402

# What is believed where, and the list of facts about it in layout/.
SUBJECTS = {
    "object.h": "agent/cpython/object.h",
    "dict.h": "agent/cpython/dict.c",
    "set.h": "agent/cpython/set.h",
    "descr.h": "agent/cpython/descr.h",
    "weakref.h": "agent/cpython/weakref.h",
    "contextvar.h": "agent/cpython/contextvar.h",
    "method.h": "agent/cpython/method.h",
    "frame.h": "agent/cpython/frame.c",
    "gc_objects.h": "agent/cpython/gc_objects.c",
    "finalized.h": "agent/cpython/finalized.h",
    "thread_state.h": "agent/cpython/thread_state.c",
    "runtime.h": "injector/runtime_layout.h",
}


def run(*command):
    """(succeeded, what it said)"""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    return done.returncode == 0, done.stdout


def headers_of(interpreter):
    """The folder with its Python.h, or None."""
    good, answer = run(interpreter.path, "-c",
                       "import sysconfig; print(sysconfig.get_paths()['include'])")
    folder = pathlib.Path(interpreter.root + answer.strip())
    return folder if good and (folder / "Python.h").exists() else None


def check_signatures(compile_, folder):
    """Our declarations behind the interpreter's own: one that differs does not compile.  A macro of
    the same name would change ours into something that is not compared, so each is undefined."""
    api = ROOT / "agent/cpython/api.h"
    names = sorted(set(re.findall(r"\b(_?Py\w+)\(", api.read_text())))
    source = folder / "layout_api.c"
    source.write_text("#include <Python.h>\n#include <frameobject.h>\n%s#include \"%s\"\n"
                      % ("".join("#undef %s\n" % name for name in names), api))
    return run(*compile_, "-fsyntax-only", source)


def check_values(compile_, folder, fields):
    """One list of facts, evaluated on both sides.  The subject may be a .c file: its structs are
    its own business."""
    name = fields.split(".")[0]
    ours, theirs, compare = (folder / (name + end) for end in ("-ours.o", "-theirs.o", ""))
    values = [*compile_, "-DFIELDS=\"%s\"" % fields,
              "-DSUBJECT=\"%s\"" % (ROOT / SUBJECTS[fields]), "-c", HERE / "layout/values.c", "-o"]
    for command in ([*values, ours], [*values, theirs, "-DTHEIRS"],
                    [compile_[0], HERE / "layout/compare.c", ours, theirs, "-o", compare,
                     "-Wl,--gc-sections"]):
        good, said = run(*command)
        if not good:
            return good, said
    return run(compare)


def check_symbols(interpreter, agent):
    """Every function that the agent imports and is not weak is there at run time."""
    good, said = run("nm", "-D", "--undefined-only", agent)
    if not good:
        return good, said
    needed = re.findall(r" U (_?Py\w+)$", said, re.M)
    question = ("import ctypes; api = ctypes.pythonapi;"
                "print([n for n in %r if not hasattr(api, n)])" % needed)
    good, said = run(interpreter.path, "-c", question)
    return good and said.strip() == "[]", "missing: " + said


def check(cc, build, interpreter):
    """(good, a line about it)"""
    headers = headers_of(interpreter)
    if not headers:
        return True, "skipped: it has no headers here"
    folder = build / interpreter.id
    folder.mkdir(parents=True, exist_ok=True)
    compile_ = [cc, "-std=gnu11", "-D_GNU_SOURCE", "-w", "-ffunction-sections", "-fdata-sections",
                "-DMINOR=%d" % interpreter.minor[1], "-I", headers, "-I", headers / "internal",
                # Debian's pyconfig.h is in a folder named after the machine.
                "-idirafter", interpreter.root + "/usr/include"]
    facts = 0
    for good, said in (check_signatures(compile_, folder),
                       check_symbols(interpreter, build.parent.parent / "pyhot.so")):
        if not good:
            return False, said
    for fields in SUBJECTS:
        good, said = check_values(compile_, folder, fields)
        if not good:
            return False, said
        facts += int(said)
    return True, "%d facts as believed" % facts


def main():
    cc, build = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    interpreters = [i for i in harness.find_interpreters() if i.is_target]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda i: check(cc, build, i), interpreters))
    for interpreter, (_, said) in zip(interpreters, verdicts):
        print("layout of %s: %s" % (interpreter.id, said))
    if not interpreters:
        print("layout: no CPython that pyhot serves was found")
    sys.exit(not all(good for good, _ in verdicts))


if __name__ == "__main__":
    main()

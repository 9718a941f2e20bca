"""Cases of a reload: a module before and after, a program that holds on to things, and what must
hold afterwards.  Each case runs in a process of its own, with the agent as extension module."""

import json
import re
import textwrap

RUNNER = '''
import json, os, sys, traceback

directory, cases = sys.argv[1], json.load(open(sys.argv[2]))


def save(version, files, base):
    for name, text in files.items():
        path = os.path.join(base, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.utime(path, (1500000000 + 100 * version,) * 2)


def run(case, base):
    save(0, case["old"], base)
    save(0, {"app.py": case["app"]}, base)
    sys.path.insert(0, base)
    import app, pyhot
    save(1, case["new"], base)
    report = pyhot.reload(*case["modules"], **case["options"])
    assert report["exit"] == 0, report
    app.report = report
    app.modules = {module["name"]: module for module in report["modules"]}
    save(1, {"check.py": case["check"]}, base)
    exec(compile(case["check"], os.path.join(base, "check.py"), "exec"), app.__dict__)


failed = []
for number, case in enumerate(cases):
    base = os.path.join(directory, "case%d" % number)
    child = os.fork()
    if not child:
        status = 1
        try:
            run(case, base)
            status = 0
        except BaseException:
            sys.stdout.write("%s: %s" % (case["name"], traceback.format_exc()))
            sys.stdout.flush()
        os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        failed.append(case["name"])
print("failed: %s" % " ".join(failed) if failed else "all passed")
'''

CHOICE = re.compile(r"\{\{(.*?)\|\|(.*?)\}\}", re.S)


def version(text, number):
    return CHOICE.sub(lambda match: match.group(1 + number), textwrap.dedent(text).lstrip("\n"))


def case(name, source, app, check, modules=None, since=(3, 8), **options):
    """`source`: text of mod.py, or a dict of files; {{old||new}} differs.  `check` runs in the
    names of `app`, with `report` and `modules` (name -> its part of the report)."""
    files = source if isinstance(source, dict) else {"mod.py": source}
    old = {name: version(text, 0) for name, text in files.items()}
    new = {name: version(text, 1) for name, text in files.items()}
    if modules is None:
        modules = [name[:-3].replace("/", ".").replace(".__init__", "")
                   for name in files if old[name] != new[name]]
    return {"name": name, "old": old, "new": new, "app": version(app, 0),
            "check": version(check, 0), "modules": modules, "options": options,
            "since": list(since)}


def check_cases(run_script, python, tmp_path, cases):
    """Runs those of the cases that the interpreter has the syntax for."""
    fit = [one for one in cases if tuple(one["since"]) <= python.minor]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(fit))
    output = run_script(python, RUNNER, str(tmp_path), str(path))
    assert output.strip().endswith("all passed"), output

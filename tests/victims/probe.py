"""The test's guest in a target: a thread that evaluates what it is asked over a pipe.

A victim imports it, and calls ready() when it has set itself up.  When the test's end of the pipe
goes away, the process ends, so that no victim outlives its test.
"""

import json
import os
import select
import sys
import threading
import traceback


def ready(serve=True):
    """Tells the test that the program is set up, waits until the test has looked at it, and
    answers questions from then on: in a thread, or, with serve=False, when poll() is called."""
    looked_at = threading.Event()
    if serve:
        thread = threading.Thread(target=_serve, args=(looked_at,), name="probe")
        thread.daemon = True
        thread.start()
    os.write(int(os.environ["PROBE_OUT"]), b"READY\n")
    if not os.read(int(os.environ["PROBE_IN"]), 1):
        os._exit(97)
    looked_at.set()


def poll():
    """For programs that must have one thread only: answers what was asked by now."""
    while select.select([int(os.environ["PROBE_IN"])], [], [], 0)[0]:
        _answer_one()


def _serve(looked_at):
    looked_at.wait()
    while True:
        _answer_one()


def _answer_one():
    """One line at a time: the test waits for each answer before it asks again."""
    line = os.read(int(os.environ["PROBE_IN"]), 65536)
    if not line:
        os._exit(97)
    answer = json.dumps(_answer(json.loads(line.decode()))) + "\n"
    os.write(int(os.environ["PROBE_OUT"]), answer.encode())


def _answer(question):
    """In a function of its own so that nothing of the program stays referenced."""
    try:
        namespace = sys.modules[question["module"]].__dict__
        code = compile(question["text"], "<probe>", question["kind"])
        return {"value": repr(eval(code, namespace))}
    except BaseException:
        return {"error": traceback.format_exc()}

"""What all loads share: how much work was done, and what was found wrong with it."""

import ctypes
import os

native = ctypes.CDLL(os.environ["FAULTS_NATIVE"])
rounds = 0
mistakes = []


def done():
    """One more round of work."""
    global rounds
    rounds += 1


def check(good, text):
    if not good and len(mistakes) < 20:
        mistakes.append(text)


def check_call(name, *arguments):
    """Calls a function of native.c, which returns 0 if all was well."""
    result = getattr(native, name)(*arguments)
    check(result == 0, "%s: %s" % (name, os.strerror(result) if result > 0 else result))

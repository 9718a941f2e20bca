/* The mark is the process's id in the interpreter's own dict, which all agents see and no Python
 * code does, under the GIL.  It is the id, not a flag, as a child that is forked in the middle of
 * a job inherits the dict but not the thread. */
#include "turn.h"

#include <time.h>
#include <unistd.h>

#include "cpython/api.h"

static const char mark[] = "pyhot.job";

static PyObject *interpreter_dict(void)
{
    return PyInterpreterState_GetDict(PyInterpreterState_Main());
}

/* 1: taken.  0: another's turn.  -1: exception. */
static int try_to_take(void)
{
    PyObject *dict = interpreter_dict();
    PyObject *holder = dict ? PyDict_GetItemString(dict, mark) : NULL;
    PyObject *self;
    int status;

    if (holder && PyLong_AsLong(holder) == (long)getpid())
        return 0;
    self = dict ? PyLong_FromLong((long)getpid()) : NULL;
    status = self ? PyDict_SetItemString(dict, mark, self) : -1;
    Py_DecRef(self);
    return status < 0 ? -1 : 1;
}

bool turn_take(uint32_t timeout_ms, bool (*give_up)(void *), void *arg)
{
    const struct timespec moment = {0, 1000000};
    int taken = try_to_take();

    for (uint32_t ms = 0; taken == 0 && ms < timeout_ms && !give_up(arg); ms++) {
        PyThreadState *thread = PyEval_SaveThread();

        nanosleep(&moment, NULL);
        PyEval_RestoreThread(thread);
        taken = try_to_take();
    }
    PyErr_Clear();
    return taken > 0;
}

void turn_end(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyDict_DelItemString(interpreter_dict(), mark);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

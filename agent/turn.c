/* The mark is the process's id in the interpreter's own dict, which all agents see and no Python
 * code does, under the GIL.  It is the id, not a flag, as a child that is forked in the middle of
 * a job inherits the dict but not the thread. */
#include "turn.h"

#include <time.h>
#include <unistd.h>

#include "cpython/api.h"

/* Made once: what is taken can be given back without memory. */
static PyObject *mark;

static PyObject *interpreter_dict(void)
{
    return PyInterpreterState_GetDict(PyInterpreterState_Main());
}

/* 1: taken.  0: another's turn.  -1: exception. */
static int try_to_take(void)
{
    PyObject *dict = interpreter_dict(), *holder, *self;
    int status;

    if (!mark)
        mark = PyUnicode_InternFromString("pyhot.job");
    if (!mark || !dict)
        return -1;
    holder = PyDict_GetItemWithError(dict, mark);

    if (holder && PyLong_AsLong(holder) == (long)getpid())
        return 0;
    self = PyLong_FromLong((long)getpid());
    status = self ? PyDict_SetItem(dict, mark, self) : -1;
    Py_DecRef(self);
    return status < 0 ? -1 : 1;
}

int turn_take(uint32_t timeout_ms, bool (*give_up)(void *), void *arg)
{
    const struct timespec moment = {0, 1000000};
    int taken = try_to_take();

    for (uint32_t ms = 0; taken == 0 && ms < timeout_ms && !give_up(arg); ms++) {
        PyThreadState *thread = PyEval_SaveThread();

        nanosleep(&moment, NULL);
        PyEval_RestoreThread(thread);
        taken = try_to_take();
    }
    return taken;
}

void turn_end(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyDict_DelItem(interpreter_dict(), mark);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

/* Pending calls run in the main thread of the main interpreter in every version from 3.8 to 3.15
 * (Py_AddPendingCall, Python/ceval.c and ceval_gil.c). */
#include "main_thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent.h"

enum { BEGIN_MS = 3000, POLL_MS = 20 };

/* Shared by two threads under the GIL; freed by whoever is the last to know of it. */
struct call {
    enum { CALL_WAITING, CALL_RUNNING, CALL_DONE, CALL_GIVEN_UP } state;
    int (*function)(void *);
    void *arg;
    int result;
    PyObject *error[3];
};

bool main_thread_wanted(void)
{
    static const char *const messages[] = {"only works in main thread",
                                           "no current event loop in thread"};
    PyObject *error[3], *text;
    const char *utf8;
    bool wanted = false;

    PyErr_Fetch(&error[0], &error[1], &error[2]);
    PyErr_NormalizeException(&error[0], &error[1], &error[2]);
    if (error[1] && (PyErr_GivenExceptionMatches(error[0], PyExc_ValueError) ||
                     PyErr_GivenExceptionMatches(error[0], PyExc_RuntimeError))) {
        text = PyObject_Str(error[1]);
        utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
        for (size_t i = 0; utf8 && i < sizeof messages / sizeof *messages; i++)
            wanted |= strstr(utf8, messages[i]) != NULL;
        PyErr_Clear();
        Py_DecRef(text);
    }
    PyErr_Restore(error[0], error[1], error[2]);
    return wanted;
}

static int pending(void *arg)
{
    struct call *call = arg;

    if (call->state == CALL_GIVEN_UP) {
        free(call);
        return 0;
    }
    call->state = CALL_RUNNING;
    call->result = call->function(call->arg);
    PyErr_Fetch(&call->error[0], &call->error[1], &call->error[2]);
    call->state = CALL_DONE;
    return 0;
}

static void nap(void)
{
    struct timespec time = {.tv_nsec = POLL_MS * 1000000L};
    PyThreadState *thread = PyEval_SaveThread();

    nanosleep(&time, NULL);
    PyEval_RestoreThread(thread);
}

int main_thread_call(int (*function)(void *), void *arg, bool *begun)
{
    struct call *call = calloc(1, sizeof *call);
    int result = -1;

    *begun = false;
    if (!call) {
        PyErr_NoMemory();
        return -1;
    }
    call->function = function;
    call->arg = arg;
    if (Py_AddPendingCall(pending, call) < 0) { /* the queue is full */
        free(call);
        return -1;
    }
    for (int waited = 0; call->state == CALL_WAITING; waited += POLL_MS) {
        if (waited >= BEGIN_MS || job_cancelled()) {
            call->state = CALL_GIVEN_UP;
            return -1;
        }
        nap();
    }
    while (call->state == CALL_RUNNING)
        nap();
    *begun = true;
    result = call->result;
    PyErr_Restore(call->error[0], call->error[1], call->error[2]);
    free(call);
    return result;
}

/* What the state of a thread refers to, where no traversal leads: its trace and profile functions,
 * its hooks of asynchronous generators and the exceptions that it is handling.
 *
 * GIL held; runs no Python code. */
#ifndef PYHOT_CPYTHON_THREAD_STATE_H
#define PYHOT_CPYTHON_THREAD_STATE_H

#include <stdbool.h>

#include "api.h"

/* threading.get_ident() of the thread.  False: where the fields are is not known in this
 * interpreter. */
bool thread_state_identifier(PyThreadState *, unsigned long *identifier);

/* Calls visit(what, object, arg) for each of them, as in visit("trace function of", f, arg); of the
 * exceptions the innermost comes first.  0, what visit returned if not 0; nothing is visited where
 * the fields are not known. */
int thread_state_visit(PyThreadState *, int (*visit)(const char *what, PyObject *, void *arg),
                       void *arg);

#endif

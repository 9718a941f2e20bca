/* The functions that a module's names lead to now: plain, methods, and those that decorators
 * keep in a closure, in `__wrapped__` or in an object of their own. */
#ifndef PYHOT_STALE_LIVE_H
#define PYHOT_STALE_LIVE_H

#include "cpython/api.h"

/* New list of the functions reachable from `dict`, the dict of a module, that run in that
 * dict.  GIL held; runs no Python code.  NULL with an exception. */
PyObject *live_functions(PyObject *dict);

#endif

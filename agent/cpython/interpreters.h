/* Subinterpreters: the main one is served; of the others only what is needed to say so. */
#ifndef PYHOT_CPYTHON_INTERPRETERS_H
#define PYHOT_CPYTHON_INTERPRETERS_H

#include <stdint.h>

#include "api.h"

/* The id of another interpreter of this process in whose sys.modules `name` (a str) is, or -1.
 * A look from outside: that interpreter may run, or end, meanwhile.  GIL held; no exception. */
int64_t interpreter_with_module(PyObject *name);

#endif

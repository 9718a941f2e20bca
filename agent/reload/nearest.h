/* What somebody may have meant who named a module that is not loaded. */
#ifndef PYHOT_NEAREST_H
#define PYHOT_NEAREST_H

#include <stddef.h>

#include "cpython/api.h"

/* Writes up to three names of sys.modules that are near to `name` into `out`, separated by
 * commas; empty if none is.  GIL held; runs no Python code. */
void nearest_modules(PyObject *name, char *out, size_t size);

#endif

/* Is code that runs still what its name leads to? */
#ifndef PYHOT_STALE_OLD_CODE_H
#define PYHOT_STALE_OLD_CODE_H

#include "cpython/api.h"

/* What `code`, running in `globals`, would be called: "shop.cart.work", and 1, if a function of
 * that name has other code now; for a local function, if the one that it is defined in has.
 * 0 if not, -1 with an exception.  New reference.  GIL held; it is released while source is read;
 * runs no Python code.  `sources` is as for name_count_in_source. */
int old_code_name(PyObject *code, PyObject *globals, PyObject *sources, PyObject **name);

#endif

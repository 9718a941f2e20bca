/* The target's linecache after a reload. */
#ifndef PYHOT_LINECACHE_H
#define PYHOT_LINECACHE_H

#include "cpython/api.h"

/* Tracebacks and inspect.getsource shall show `file` as it is now: forgets its lines, if the
 * target has imported linecache and holds any.  `file` may be NULL.  GIL held. */
void linecache_forget(PyObject *file);

#endif

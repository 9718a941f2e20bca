/* where: what each thread runs, and which of it is old code. */
#ifndef PYHOT_STALE_WHERE_H
#define PYHOT_STALE_WHERE_H

#include "cpython/api.h"

/* New reference to the object that `pyhot where --json` prints, without what only the injector
 * knows.  Sources may be read meanwhile, without the GIL; runs no Python code, changes nothing.
 * NULL with an exception. */
PyObject *stale_where(void);

#endif

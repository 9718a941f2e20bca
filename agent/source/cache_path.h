/* Where the byte code of a module is cached. */
#ifndef PYHOT_SOURCE_CACHE_PATH_H
#define PYHOT_SOURCE_CACHE_PATH_H

#include "../cpython/api.h"

/* New reference to bytes, a path that may not exist; NULL without an exception: the module has
 * none, or it cannot be known.  GIL held and kept: no code of the target's library runs. */
PyObject *cache_path(PyObject *module);

#endif

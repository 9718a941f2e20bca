/* Modules that the new source imported first and that have what a module of the transaction had
 * before: it was split.  GIL held; loaders of the program may run. */
#ifndef PYHOT_MOVED_TO_H
#define PYHOT_MOVED_TO_H

#include "execute.h"

/* After the execution.  New list of (name, module, its code, an empty dict, the name of the module
 * that was split), or NULL with an exception. */
PyObject *moved_to(const struct execution *);

#endif

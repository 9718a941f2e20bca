/* Functions that the new source registered with atexit. */
#ifndef PYHOT_EXIT_FUNCTIONS_H
#define PYHOT_EXIT_FUNCTIONS_H

#include "execute.h"
#include "remap/remap.h"

/* Those that stand for one that is registered already, each for one: new reference to a list of
 * the number of all and the positions of these, or NULL with an exception.  Before the commit,
 * which `remap` is for. */
PyObject *exit_functions_doubled(struct remap *);

/* Unregisters those in the list, unless the commit did.  The GIL has been held since. */
void exit_functions_remove(PyObject *doubled);

/* Unregisters the functions that a failed execution made. */
void exit_functions_take_back(const struct execution *);

#endif

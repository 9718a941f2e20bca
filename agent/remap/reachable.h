/* Every object that can be reached: those that the collector lists, and those that it does not. */
#ifndef PYHOT_REMAP_REACHABLE_H
#define PYHOT_REMAP_REACHABLE_H

#include "engine.h"

struct reachable;

/* Calls `visit` for each object of the last scan, and once for each other one that these, the
 * locals of running frames or what was added lead to, but plain str, int, float, bytes, bool,
 * None and code; until it returns non-zero, which is then returned.  -1: MemoryError. */
int reachable_each(struct remap *, int (*visit)(struct reachable *, PyObject *o, void *arg),
                   void *arg);

/* `visit` has found this one where no traversal leads.  May be given to tp_traverse. */
int reachable_add(PyObject *o, void *reachable);

#endif

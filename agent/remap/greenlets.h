/* Frames of suspended greenlets (gevent's too): no thread runs them and no traversal shows them. */
#ifndef PYHOT_REMAP_GREENLETS_H
#define PYHOT_REMAP_GREENLETS_H

#include "engine.h"

/* Calls `visit` with the innermost frame of each, until it returns non-zero, which is then
 * returned; -1 with an exception. */
int greenlets_each(struct remap *, int (*visit)(struct remap *, PyObject *frame));

#endif

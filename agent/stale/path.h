/* A way through the graph as a path that a person can follow: app.session.cache[3].callback. */
#ifndef PYHOT_STALE_PATH_H
#define PYHOT_STALE_PATH_H

#include "graph.h"

/* The path to `node`; with `object`, on from there to `object`, which the node refers to.  New
 * reference to a str.  GIL held; runs no Python code and makes no lasting object. */
PyObject *path_to(const struct graph *, uint32_t node, PyObject *object);

#endif

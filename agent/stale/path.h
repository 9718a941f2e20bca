/* A way through the graph as a path that a person can follow: app.session.cache[3].callback.
 * GIL held; runs no Python code and makes no lasting object. */
#ifndef PYHOT_STALE_PATH_H
#define PYHOT_STALE_PATH_H

#include "graph.h"

/* The path to `node`; with `object`, on from there to `object`, which the node refers to.  New
 * reference to a str. */
PyObject *path_to(const struct graph *, uint32_t node, PyObject *object);

/* An object on a path, borrowed, and how the one before leads to it: ".callback", "[3]".  The first
 * has no text, nor has a namespace: what is in it is an attribute of the object before. */
struct path_step {
    PyObject *object;
    const char *text;
    bool namespace;
};

/* Calls visit for each object on the same path.  0; what visit returned if not 0; -1 with
 * MemoryError. */
int path_steps(const struct graph *, uint32_t node, PyObject *object,
               int (*visit)(const struct path_step *, void *arg), void *arg);

#endif

/* What --graph draws: the paths that the report lists, as nodes and edges.  docs/list-stale.md has
 * the members.  An object that several paths lead over is one node; a namespace is none.
 *
 * GIL held, between graph_search and graph_clear; runs no Python code. */
#ifndef PYHOT_STALE_DRAWING_H
#define PYHOT_STALE_DRAWING_H

#include "graph.h"

struct drawing {
    PyObject *nodes, *edges; /* lists of dicts; NULL: nothing is drawn */
    PyObject *numbers;       /* address of an object, or name of a root -> index of nodes */
    PyObject *seen;          /* the edges that are there: (from, to, step) -> None */
};

/* Functions that can fail return 0, or -1 with an exception, and do nothing if nothing is drawn. */
int drawing_open(struct drawing *);
void drawing_clear(struct drawing *);

/* The way to `node`, and on to `object` if that is not NULL, as path_to() has it. */
int drawing_add_way(struct drawing *, const struct graph *, uint32_t node, PyObject *object);

/* An edge between two objects that are drawn. */
int drawing_add_edge(struct drawing *, const struct graph *, uint32_t from, PyObject *to,
                     const char *step);

/* A static variable of C code that refers to an object. */
int drawing_add_static(struct drawing *, const struct graph *, const struct graph_root *,
                       PyObject *to);

/* A frame that runs old code. */
int drawing_add_frame(struct drawing *, PyObject *title);

/* {"nodes":[...],"edges":[...]}.  New reference. */
PyObject *drawing_take(struct drawing *);

#endif

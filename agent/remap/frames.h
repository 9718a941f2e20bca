/* Running frames, for those who name what is in them. */
#ifndef PYHOT_REMAP_FRAMES_H
#define PYHOT_REMAP_FRAMES_H

#include "engine.h"

/* A thread's name for people, by its id (an int): new reference, NULL with an exception. */
PyObject *frames_thread_name(PyObject *id);

/* The visits of an edge from a generator, coroutine or frame object that are its reference
 * to the function it runs: 1 or 0.  That stays: what else the frame uses it borrows from
 * there (from 3.11 on). */
ptrdiff_t frames_keep(struct remap *, const struct edge *);

/* Traverses the locals of a running frame: `visit` is a visitproc.  0, or -1 with an exception. */
int frames_visit_locals(PyObject *frame, int (*visit)(PyObject *, void *), void *arg);

/* Calls `visit` for each running frame until it returns non-zero. */
int frames_each(struct remap *, int (*visit)(struct remap *, PyObject *frame, void *), void *arg);

#endif

/* Running frames, for those who name what is in them. */
#ifndef PYHOT_REMAP_FRAMES_H
#define PYHOT_REMAP_FRAMES_H

#include "engine.h"

/* A thread's name for people, by its id (an int): new reference, NULL with an exception. */
PyObject *frames_thread_name(PyObject *id);

/* Calls `visit` for each running frame until it returns non-zero. */
int frames_each(struct remap *, int (*visit)(struct remap *, PyObject *frame, void *), void *arg);

#endif

/* Subclasses that nothing can reach any more. */
#ifndef PYHOT_REMAP_GARBAGE_H
#define PYHOT_REMAP_GARBAGE_H

#include "engine.h"

/* What such a class holds of replaced ones, and no writer could rewrite, stays (left_writer).
 * After all edges are resolved.  0, or -1 with an exception. */
int garbage_leave(struct remap *);

#endif

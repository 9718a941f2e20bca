#ifndef PYHOT_REMAP_ARRAYS_H
#define PYHOT_REMAP_ARRAYS_H

#include "engine.h"

/* Find the references in numpy arrays: what they explain is added to key.frames and
 * key.roots.  After frames_scan, before holders_scan.  0, or -1 with an exception. */
int arrays_scan(struct remap *);
void arrays_close(struct remap *);

#endif

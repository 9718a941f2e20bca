/* The life of a remap: its memory, the words it wrote, the references it keeps. */
#ifndef PYHOT_REMAP_STORE_H
#define PYHOT_REMAP_STORE_H

#include "engine.h"

/* Take back all stores, the last first. */
void store_undo(struct remap *);

/* No automatic collection from the one to the other.  0, or -1 with an exception. */
int remap_pause_collector(struct remap *);
void remap_resume_collector(struct remap *);

#endif

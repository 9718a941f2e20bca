/* The life of a remap: its memory, the words it wrote, the references it keeps. */
#ifndef PYHOT_REMAP_STORE_H
#define PYHOT_REMAP_STORE_H

#include "engine.h"

/* Take back all stores, the last first. */
void store_undo(struct remap *);

#endif

/* Classes that live on and have a replaced base. */
#ifndef PYHOT_REMAP_BASES_H
#define PYHOT_REMAP_BASES_H

#include "engine.h"

/* Will the class and all its ancestors that need it get their new bases? */
bool bases_can_change(const struct remap *, PyTypeObject *);

#endif

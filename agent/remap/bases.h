/* Classes that live on and have a replaced base. */
#ifndef PYHOT_REMAP_BASES_H
#define PYHOT_REMAP_BASES_H

#include "engine.h"

/* Will the class and all its ancestors that need it get their new bases? */
bool bases_can_change(const struct remap *, PyTypeObject *);

/* Calls `visit` for each class in the MROs that the commit made anew: as they are, or as they were
 * `before`; new classes in either case. Before, for those in bases and MROs too that stayed as they
 * were, as they are buried nevertheless. */
void bases_visit_mros(const struct remap *, bool before, visitproc visit, void *arg);

#endif

/* Classes that live on and have a replaced base. */
#ifndef PYHOT_REMAP_BASES_H
#define PYHOT_REMAP_BASES_H

#include "engine.h"

/* Will the class and all its ancestors that need it get their new bases? */
bool bases_can_change(const struct remap *, PyTypeObject *);

/* Of each class that the commit gave other bases or another MRO: calls `visit` for all classes in
 * what it has now; or, `before`, for the new ones of those that were replaced in what it had. */
void bases_visit_tuples(const struct remap *, bool before, visitproc visit, void *arg);

#endif

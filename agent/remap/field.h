#ifndef PYHOT_REMAP_FIELD_H
#define PYHOT_REMAP_FIELD_H

#include "engine.h"

/* How often the referrer's traverse function visits `object` now. */
size_t field_visits(PyObject *referrer, PyObject *object);

void field_close(struct remap *);

#endif

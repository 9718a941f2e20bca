#ifndef PYHOT_REMAP_FIELD_H
#define PYHOT_REMAP_FIELD_H

#include "engine.h"

/* How often the referrer's traverse function visits `object` now. */
size_t field_visits(PyObject *referrer, PyObject *object);

void field_close(struct remap *);

/* As field_find, in a long list or tuple; -2: it is none, or search it like any other. */
ptrdiff_t field_find_item(struct remap *, PyObject *referrer, uint32_t key, size_t visits,
                          uintptr_t ***fields);

/* What was found in a container is looked for anew: there may have been writes since. */
void field_forget(struct remap *);

#endif

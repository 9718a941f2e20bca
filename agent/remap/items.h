/* The references in a long list or tuple: those to all keys are found and proven at once. */
#ifndef PYHOT_REMAP_ITEMS_H
#define PYHOT_REMAP_ITEMS_H

#include "engine.h"

struct item;

struct items {
    PyObject *container; /* looked at last; NULL: none */
    uintptr_t *words;    /* its array of references then */
    size_t n_words, n_keys;
    struct item *items; /* by key, then by address */
    size_t n, cap;
};

/* As field_find.  -2: not a long list or tuple, or not provable here: search it. */
ptrdiff_t items_find(struct remap *, struct items *, PyObject *container, uint32_t key,
                     size_t visits, uintptr_t ***fields);

/* Something may have been written since: look anew. */
void items_forget(struct items *);
void items_free(struct items *);

#endif

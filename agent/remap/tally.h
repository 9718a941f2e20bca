/* How often each key occurs in one container: counted in one pass over it, so that a
 * container that holds many keys is not searched once for each. */
#ifndef PYHOT_REMAP_TALLY_H
#define PYHOT_REMAP_TALLY_H

#include "engine.h"

struct tally {
    const PyObject *container; /* counted last */
    size_t n_keys;             /* that there were then */
    uint32_t *counts;          /* by key */
    size_t cap;
    uint32_t *touched; /* keys whose count is not 0 */
    size_t n_touched, cap_touched;
};

/* 1: another container than last time, or keys were added since; its counts are zero: count
 * now.  0: as last time.
 * -1: MemoryError. */
int tally_open(struct remap *, struct tally *, const PyObject *container);

/* Count `object` if it is a key.  0, or -1 with MemoryError. */
int tally_add(struct remap *, struct tally *, const PyObject *object);

/* Take up to `wanted` of what was counted for `key`. */
size_t tally_take(struct tally *, uint32_t key, size_t wanted);

#endif

/* What an object's hash will be after the remap, found out without calling __hash__. */
#ifndef PYHOT_REMAP_REHASH_H
#define PYHOT_REMAP_REHASH_H

#include "engine.h"

/* Are the tables and formulas those of this interpreter?  If not, no dict or set with a
 * replaced object in it may be touched. */
bool rehash_supported(void);

enum rehash {
    REHASH_SAME,    /* it stays */
    REHASH_CHANGED, /* it will be *after */
    REHASH_UNKNOWN, /* it changes, but to what only a __hash__ of the program could tell */
    REHASH_FAILED,  /* MemoryError */
};

#define REHASH_NO_KEY UINT32_MAX

/* `before`: the hash stored with `o`, in a dict or set.  *key: a key that it depends on, or
 * REHASH_NO_KEY: there is none.  To any depth, in linear time: what is nested is remembered from
 * rehash_begin (-1: MemoryError) to rehash_end; no key may be added in between.
 * Does not allocate Python objects. */
enum rehash rehash_of(const struct remap *, PyObject *o, Py_hash_t before, Py_hash_t *after,
                      uint32_t *key);

int rehash_begin(struct remap *);
void rehash_end(struct remap *);

/* After the remap: are they equal for certain, told without calling __eq__?  Both have the
 * same hash.  `r` is the remap (void for use as a callback). */
bool rehash_same(PyObject *a, PyObject *b, void *r);

#endif

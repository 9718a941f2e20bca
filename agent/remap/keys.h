/* Looking up the map, inlined into the scan: most pointers are no key, and one bit of a
 * few KiB (64 at most) that stay in the cache says so. */
#ifndef PYHOT_REMAP_KEYS_H
#define PYHOT_REMAP_KEYS_H

#include "address_set.h"
#include "engine.h"

enum { BITMAP_BITS = 1 << 19 };

struct key_table {
    unsigned char bitmap[BITMAP_BITS / 8];
    size_t bitmap_mask; /* bits in use, less 1: some for each slot */
    uint32_t *slots;    /* index + 1 into r->keys, 0: free; never more than half full */
    size_t mask;
    struct address_set values;
};

static inline size_t keys_hash(const PyObject *o)
{
    return (size_t)(((uintptr_t)o >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

/* False: no key. */
static inline bool keys_may_have(const struct key_table *t, const PyObject *o)
{
    size_t bit = keys_hash(o) & t->bitmap_mask;

    return __builtin_expect(t->bitmap[bit / 8] >> bit % 8 & 1, 0);
}

static inline ptrdiff_t keys_lookup(const struct remap *r, const PyObject *o)
{
    const struct key_table *t = r->table;
    size_t hash = keys_hash(o);

    if (!keys_may_have(t, o))
        return -1;
    for (size_t i = hash & t->mask; t->slots[i]; i = (i + 1) & t->mask)
        if (r->keys[t->slots[i] - 1].old == o)
            return (ptrdiff_t)t->slots[i] - 1;
    return -1;
}

int keys_open(struct remap *);
void keys_close(struct remap *);

#endif

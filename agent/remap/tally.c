#include "tally.h"

#include <string.h>

/* remap_alloc'ed memory lives as long as the remap, so arrays double and stay. */
static int grow(struct remap *r, uint32_t **array, size_t *cap, size_t wanted)
{
    size_t bigger = *cap ? *cap : 64;
    uint32_t *moved;

    if (wanted <= *cap)
        return 0;
    while (bigger < wanted)
        bigger *= 2;
    moved = remap_alloc(r, bigger * sizeof *moved);
    if (!moved)
        return -1;
    if (*cap)
        memcpy(moved, *array, *cap * sizeof *moved);
    *array = moved;
    *cap = bigger;
    return 0;
}

int tally_open(struct remap *r, struct tally *t, const PyObject *container)
{
    if (grow(r, &t->counts, &t->cap, r->n_keys) < 0)
        return -1;
    if (t->container == container && t->n_keys == r->n_keys)
        return 0;
    for (size_t i = 0; i < t->n_touched; i++)
        t->counts[t->touched[i]] = 0;
    t->n_touched = 0;
    t->container = container;
    t->n_keys = r->n_keys;
    return 1;
}

int tally_add(struct remap *r, struct tally *t, const PyObject *object)
{
    ptrdiff_t key = keys_find(r, object);

    if (key < 0)
        return 0;
    if (!t->counts[key]) {
        if (grow(r, &t->touched, &t->cap_touched, t->n_touched + 1) < 0)
            return -1;
        t->touched[t->n_touched++] = (uint32_t)key;
    }
    t->counts[key]++;
    return 0;
}

size_t tally_take(struct tally *t, uint32_t key, size_t wanted)
{
    size_t taken = t->counts[key] < wanted ? t->counts[key] : wanted;

    t->counts[key] -= (uint32_t)taken;
    return taken;
}

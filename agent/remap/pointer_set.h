/* A set of addresses, in C memory. */
#ifndef PYHOT_REMAP_POINTER_SET_H
#define PYHOT_REMAP_POINTER_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pointer_set {
    uintptr_t *slots; /* open addressing, at most half full; 0: free */
    size_t mask, n;
};

/* 1: added.  0: it is there already.  -1: out of memory, no exception set.  Not 0. */
int pointer_set_add(struct pointer_set *, uintptr_t);
bool pointer_set_has(const struct pointer_set *, uintptr_t);

/* Empty, but keep up to a few KiB of memory for the next use. */
void pointer_set_clear(struct pointer_set *);
void pointer_set_free(struct pointer_set *);

#endif

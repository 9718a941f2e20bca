/* A set of addresses, in C memory; and their order. */
#ifndef PYHOT_REMAP_ADDRESS_SET_H
#define PYHOT_REMAP_ADDRESS_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct address_set {
    uintptr_t *slots; /* open addressing, at most half full; 0: free */
    size_t mask, n;
};

/* 1: added.  0: it is there already.  -1: out of memory, no exception set.  Not 0. */
int address_set_add(struct address_set *, uintptr_t);
bool address_set_has(const struct address_set *, uintptr_t);

/* Empty, but keep up to a few KiB of memory for the next use. */
void address_set_clear(struct address_set *);
void address_set_free(struct address_set *);

/* For qsort and bsearch of addresses, or of structures that begin with one. */
int by_address(const void *, const void *);

#endif

/* Who refers to the keys: every object is traversed once. */
#ifndef PYHOT_REMAP_SCAN_H
#define PYHOT_REMAP_SCAN_H

#include "engine.h"

struct edges {
    struct edge *items; /* those of one referrer are adjacent */
    size_t n, cap;
};

/* Fills *edges (of big_realloc, the caller frees items) with the referrers of the keys from
 * number `first` on, and sets these keys' refcount and visits.  Enumerates the heap anew.
 * 0, or -1 with an exception (or after job_fail). */
int scan(struct remap *, size_t first, struct edges *edges);

#endif

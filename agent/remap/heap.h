/* The objects of a scan, and which addresses are objects. */
#ifndef PYHOT_REMAP_HEAP_H
#define PYHOT_REMAP_HEAP_H

#include "../cpython/memory.h"
#include "address_set.h"
#include "engine.h"

enum { TYPES_CACHED = 256, OURS_WORDS = 64 };

struct heap {
    PyObject **objects;   /* borrowed; without the excluded */
    unsigned char *kinds; /* enum kind, by object */
    size_t n, cap;
    struct address_set ours, types;   /* left out of objects; the types of all objects */
    uint64_t ours_filter[OURS_WORDS]; /* a bit by hash is 0: not in ours */
    struct {
        const PyTypeObject *type;
        unsigned char kinds;
    } known[TYPES_CACHED]; /* of `types`, by hash */
    struct memory memory;  /* opened at need */
    uint64_t **bitmaps;    /* by mapping: one bit for 16 bytes, set where an object starts */
    bool memory_open, mapped;
    unsigned scans; /* how often it was enumerated */
};

int heap_open(struct remap *);
void heap_close(struct remap *);

/* Enumerate anew, and let `take` look at each object soon after, while it is in the cache.
 * `take` makes no objects; -1 (with an exception) ends it.  0 or -1. */
int heap_scan(struct remap *, int (*take)(PyObject *o, void *), void *arg);

/* Before heap->memory is used.  0, or -1 with an exception. */
int heap_memory(struct heap *);

/* Before heap_has and after heap_scan: build the bitmaps.  0, or -1 with an exception. */
int heap_map(struct heap *);

/* Is `address` that of an object of the scan? */
bool heap_has(struct heap *, uintptr_t address);

#endif

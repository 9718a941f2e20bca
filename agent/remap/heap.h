/* The objects of a scan, and which addresses are objects. */
#ifndef PYHOT_REMAP_HEAP_H
#define PYHOT_REMAP_HEAP_H

#include "../cpython/memory.h"
#include "engine.h"

struct heap {
    PyObject **objects; /* borrowed; without the excluded */
    size_t n;
    struct memory memory; /* opened at need */
    uint64_t **bitmaps;   /* by mapping: one bit for 16 bytes, set where an object starts */
    bool memory_open, mapped;
    unsigned scans; /* how often it was enumerated */
};

int heap_open(struct remap *);
void heap_close(struct remap *);

/* Enumerate anew.  0, or -1 with an exception. */
int heap_scan(struct remap *);

/* Before heap->memory is used.  0, or -1 with an exception. */
int heap_memory(struct heap *);

/* Before heap_has and after heap_scan: build the bitmaps.  0, or -1 with an exception. */
int heap_map(struct heap *);

/* Is `address` that of an object of the scan? */
bool heap_has(struct heap *, uintptr_t address);

#endif

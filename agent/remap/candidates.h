/* The words in a referrer's memory that may be its references to a key: a breadth-first
 * search over memory blocks, from the referrer's own along everything that looks like a
 * pointer.  A word that is found may be chance; field.c proves which are fields. */
#ifndef PYHOT_REMAP_CANDIDATES_H
#define PYHOT_REMAP_CANDIDATES_H

#include "address_set.h"
#include "heap.h"

/* What a search starts from besides the referrer's own memory. */
enum reach {
    REACH_OWN,
    REACH_CHILDREN, /* the memory of the objects it refers to (ctypes' pointer types, to 3.12) */
    REACH_STATICS,  /* data of the extension whose code traverses it (modules' C statics) */
};

struct block {
    uintptr_t low, high;
};

struct candidates {
    struct heap *heap;
    PyObject *referrer, *key; /* key NULL: all of `keys` are looked for */
    const struct remap *keys;
    uintptr_t **words; /* ascending, each once */
    size_t n, cap;
    struct block *blocks; /* [next, n_blocks): still to be read */
    size_t next, n_blocks, cap_blocks;
    struct block *large; /* likewise; when no other is left */
    size_t next_large, n_large, cap_large;
    struct address_set seen;     /* starts of blocks */
    struct address_set children; /* objects that the referrer visits */
    size_t budget;               /* words still to be read */
    bool have_children, own_read, failed;
};

/* Start a search.  0, or -1 with MemoryError. */
int candidates_open(struct candidates *, struct heap *, PyObject *referrer, PyObject *key,
                    enum reach);

/* Read the next ring of blocks.  1: more words than before.  0: none in this ring.
 * -1: nothing is left to be read.  -2: MemoryError. */
int candidates_next(struct candidates *);

void candidates_free(struct candidates *);

#endif

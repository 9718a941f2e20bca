/* The words in a referrer's memory that may be its references to a key: first its own, then a
 * breadth-first search over memory blocks, along everything that looks like a pointer, for all keys
 * at once.  A word that is found may be chance; field.c proves which are fields. */
#ifndef PYHOT_REMAP_CANDIDATES_H
#define PYHOT_REMAP_CANDIDATES_H

#include "address_set.h"
#include "heap.h"

/* Where the walk has started from. */
enum start {
    START_OWN,      /* the referrer's own memory */
    START_CHILDREN, /* that of the objects it refers to (ctypes' pointer types, to 3.12) */
    START_STATICS,  /* data of the extension whose code traverses it (modules' C statics) */
};

struct block {
    uintptr_t low, high;
};

/* A word that may be a reference to a key, and in which ring it was found. */
struct found {
    uintptr_t *word;
    uint32_t key, ring;
};

struct candidates {
    struct heap *heap;
    const struct remap *keys;
    PyObject *referrer;
    uintptr_t **words; /* of one key, ascending, each once */
    size_t n, cap;
    uint32_t ring; /* the next whose words are to come in */

    /* The walk, which goes as far as any key has needed it. */
    struct found *found;
    size_t n_found, cap_found, n_keys;
    uint32_t rings; /* read so far; 0: not begun */
    enum start start;
    struct block *blocks; /* [next, n_blocks): still to be read */
    size_t next, n_blocks, cap_blocks;
    struct block *large; /* likewise; when no other is left */
    size_t next_large, n_large, cap_large;
    struct address_set seen;     /* starts of blocks */
    struct address_set children; /* objects that the referrer visits */
    size_t budget;               /* words still to be read from this start */
    bool failed;                 /* out of memory */
};

/* `words` are those of the referrer's own memory.  0, or -1 with an exception. */
int candidates_own(struct candidates *, PyObject *referrer, const PyObject *key);

/* Those of `words`, found earlier, that may still be references.  0, or -1 with MemoryError. */
int candidates_add(struct candidates *, const PyObject *key, uintptr_t *const *words, size_t n);

/* Of the referrer that candidates_own was called with: the next ring's words too.  1: there are
 * some.  0: none in this ring.  -1: nothing is left to be read.  -2: an exception. */
int candidates_next(struct candidates *, uint32_t key);

/* All of the walk from the referrer's own memory, or as much of it as `*budget` words allow, which
 * are taken off: for all keys, in `found`.  0, or -1 with an exception. */
int candidates_walk(struct candidates *, PyObject *referrer, size_t *budget);

/* What was read is not to be believed any more: something may have been written. */
void candidates_forget(struct candidates *);

void candidates_free(struct candidates *);

#endif

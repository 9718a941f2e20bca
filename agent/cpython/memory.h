/* The memory that objects live in: which of it may be looked at, and how large the block
 * around an address is. */
#ifndef PYHOT_CPYTHON_MEMORY_H
#define PYHOT_CPYTHON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A private, writable mapping. */
struct mapping {
    uintptr_t low, high;
    unsigned long inode; /* 0: anonymous */
};

struct memory {
    struct mapping *mappings; /* by address */
    size_t n, last;
    pid_t pid;
    bool under_filter; /* a seccomp filter may refuse process_vm_readv, or kill at it */
    int file;          /* /proc/self/mem, when it is needed instead; -1: not open */
    void *pools;       /* headers looked at before */
    void *peeked;      /* pages and blocks since the last memory_forget */
    unsigned time;     /* of that: its number */
};

enum block_kind {
    BLOCK_NONE,   /* not in writable memory */
    BLOCK_EXACT,  /* as the allocator says: pymalloc, glibc, a debug allocator */
    BLOCK_WINDOW, /* allocator not known, or static data: a window around the address */
};

/* Reads /proc/self/maps.  0, or -1: MemoryError or OSError. */
int memory_open(struct memory *);
void memory_close(struct memory *);

/* The mapping that holds `address`, or NULL. */
const struct mapping *memory_at(struct memory *, uintptr_t address);

/* Copies `n` bytes.  False where they are not there (any more): other threads unmap memory
 * without the GIL, so what is only suspected to be a pointer is never dereferenced. */
bool memory_read(struct memory *, uintptr_t address, void *bytes, size_t n);

/* The same, by whole pages that are kept: what is read may be as old as the last memory_forget. */
bool memory_peek(struct memory *, uintptr_t address, void *bytes, size_t n);
void memory_forget(struct memory *);

/* The block of memory that `address` points into, by peeking.  A hint: a wrong one costs a field
 * that is not found, never one that is none. */
enum block_kind memory_block(struct memory *, uintptr_t address, uintptr_t *low, uintptr_t *high);

/* The writable data of the shared object or executable that `code` (a function) is part of:
 * up to `n` ranges.  Returns how many. */
size_t memory_data_of(uintptr_t code, struct mapping *ranges, size_t n);

#endif

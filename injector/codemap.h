/* What code is mapped in the target: its unwinding tables, and what may be on a safe stack.
 *
 * All is read from the target's memory, so it works whatever became of the files.  Functions of
 * the C library are told by the exact address of an exported symbol: a stripped library has no
 * names for its static functions, and the nearest exported one is a wrong name. */
#ifndef PYHOT_CODEMAP_H
#define PYHOT_CODEMAP_H

#include "page_cache.h"
#include "target.h"

enum code_kind {
    CODE_ORDINARY = 0,
    CODE_C_LIBRARY, /* libc, and libpthread before glibc 2.34 */
    CODE_LOADER,    /* ld.so, and libdl before glibc 2.34 */
    CODE_ALLOCATOR, /* replaces malloc */
};

enum { CODE_HEADER_SIZE = 1024 };

struct code_image {
    uint64_t start, end; /* of its executable mapping */
    uint64_t base;       /* where its ELF header is */
    uint64_t bias;       /* address in memory - address in the file */
    uint64_t inode;
    enum code_kind kind;
    bool retries_eintr;     /* CPython, or an extension module that comes with it */
    uint64_t unwind_header; /* .eh_frame_hdr; 0: none that can be searched */
    uint64_t unwind_table;
    uint32_t unwind_entries;
    char name[64];                          /* last part of the path */
    unsigned char header[CODE_HEADER_SIZE]; /* ELF and program headers: tells a replaced file */
};

struct codemap {
    struct target view; /* of the same process, with maps of our own */
    struct page_cache cache;
    struct code_image *images; /* by rising address */
    size_t n_images;
    uint64_t *sleepers; /* sorted: functions of the C library to sleep in */
    size_t n_sleepers;
    uint64_t program_start; /* __libc_start_main */
};

/* `target` must outlive it. */
struct error *codemap_open(struct codemap *, const struct target *)
    __attribute__((warn_unused_result));
void codemap_close(struct codemap *);

/* Reads the mappings again.  *changed: code was mapped or unmapped, what was known is dropped. */
struct error *codemap_refresh(struct codemap *, bool *changed) __attribute__((warn_unused_result));

const struct code_image *codemap_find(const struct codemap *, uint64_t address);

/* The executable mapping still holds the file it did?  Two system calls at most. */
bool codemap_unchanged(const struct codemap *, const struct code_image *);

/* The start of the function at `address`, from the unwinding table; 0: not known. */
uint64_t codemap_function_start(struct codemap *, const struct code_image *, uint64_t address);
/* The start of the one behind it, padding included. */
uint64_t codemap_function_end(struct codemap *, const struct code_image *, uint64_t function);

/* Is the function that starts here one in which a thread may sleep and be borrowed? */
bool codemap_is_sleeper(const struct codemap *, uint64_t function_start);

/* Does the image export `name`, in one of its versions, as the function that starts here? */
bool codemap_exports(struct codemap *, const struct code_image *, const char *name,
                     uint64_t function_start);

#endif

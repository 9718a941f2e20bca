/* An ELF image as it lies in the target's memory: segments, exported symbols.
 * Reads DT_GNU_HASH, which every library of a glibc system has had since 2006. */
#ifndef PYHOT_ELF_MEMORY_H
#define PYHOT_ELF_MEMORY_H

#include "page_cache.h"

struct elf_memory {
    struct page_cache *cache;
    uint64_t base, bias;
    uint64_t unwind_header;              /* PT_GNU_EH_FRAME, or 0 */
    uint64_t symbols, strings, gnu_hash; /* 0: none */
};

/* 0, or -1: there is no ELF header at `base`. */
int elf_memory_open(struct elf_memory *, struct page_cache *, uint64_t base);

/* The addresses of `name`, one for each version of it.  How many, at most `max`. */
size_t elf_memory_exports(struct elf_memory *, const char *name, uint64_t *addresses, size_t max);

#endif

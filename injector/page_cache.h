/* Pages of the target that do not change (code, unwinding tables, symbols), read once. */
#ifndef PYHOT_PAGE_CACHE_H
#define PYHOT_PAGE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cached_page;

struct page_cache {
    pid_t pid;
    struct cached_page *pages; /* open addressing; `capacity` is 0 or a power of two */
    size_t used, capacity;
    bool out_of_memory; /* since it was cleared: what could not be read may be readable */
};

/* 0, or -1 with errno. */
int page_cache_read(struct page_cache *, uint64_t address, void *buffer, size_t size);
/* A string of at most size - 1 bytes. */
int page_cache_read_string(struct page_cache *, uint64_t address, char *buffer, size_t size);
void page_cache_clear(struct page_cache *);

#endif

/* A hash table of pages read by process_vm_readv (page_cache.h). */
#include "page_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { PAGE = 4096, FIRST_CAPACITY = 256 };

struct cached_page {
    uint64_t address;
    unsigned char *bytes; /* NULL: a free slot */
};

static struct cached_page *find_slot(const struct page_cache *cache, uint64_t address)
{
    size_t mask = cache->capacity - 1;
    size_t i = (address / PAGE * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (cache->pages[i].bytes && cache->pages[i].address != address)
        i = (i + 1) & mask;
    return &cache->pages[i];
}

static int grow(struct page_cache *cache)
{
    struct page_cache larger = *cache;
    larger.capacity = cache->capacity ? cache->capacity * 2 : FIRST_CAPACITY;
    larger.pages = calloc(larger.capacity, sizeof *larger.pages);
    if (!larger.pages)
        return -1;
    for (size_t i = 0; i < cache->capacity; i++)
        if (cache->pages[i].bytes)
            *find_slot(&larger, cache->pages[i].address) = cache->pages[i];
    free(cache->pages);
    *cache = larger;
    return 0;
}

static const unsigned char *page_at(struct page_cache *cache, uint64_t address)
{
    if (2 * (cache->used + 1) > cache->capacity && grow(cache)) {
        cache->out_of_memory = true;
        return NULL;
    }
    struct cached_page *page = find_slot(cache, address);
    if (page->bytes)
        return page->bytes;
    unsigned char *bytes = malloc(PAGE);
    if (!bytes) {
        cache->out_of_memory = true;
        return NULL;
    }
    struct iovec local = {bytes, PAGE}, remote = {(void *)(uintptr_t)address, PAGE};
    if (process_vm_readv(cache->pid, &local, 1, &remote, 1, 0) != PAGE) {
        free(bytes);
        return NULL;
    }
    *page = (struct cached_page){address, bytes};
    cache->used++;
    return bytes;
}

int page_cache_read(struct page_cache *cache, uint64_t address, void *buffer, size_t size)
{
    char *out = buffer;
    while (size) {
        uint64_t offset = address % PAGE;
        size_t part = PAGE - offset < size ? PAGE - offset : size;
        const unsigned char *bytes = page_at(cache, address - offset);
        if (!bytes) {
            errno = errno ? errno : EFAULT;
            return -1;
        }
        memcpy(out, bytes + offset, part);
        out += part;
        address += part;
        size -= part;
    }
    return 0;
}

int page_cache_read_string(struct page_cache *cache, uint64_t address, char *buffer, size_t size)
{
    for (size_t i = 0; i + 1 < size; i++) {
        if (page_cache_read(cache, address + i, buffer + i, 1))
            return -1;
        if (!buffer[i])
            return 0;
    }
    buffer[size - 1] = '\0';
    return 0;
}

void page_cache_clear(struct page_cache *cache)
{
    for (size_t i = 0; i < cache->capacity; i++)
        free(cache->pages[i].bytes);
    free(cache->pages);
    *cache = (struct page_cache){.pid = cache->pid};
}

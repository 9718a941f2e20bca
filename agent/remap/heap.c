#include "heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../cpython/gc_objects.h"
#include "address_set.h"

int heap_visit(int (*visit)(PyObject *, void *), void *arg)
{
    PyObject **objects;
    size_t n;
    int result = 0;

    if (gc_objects(&objects, &n) < 0)
        return -1;
    for (size_t i = 0; i < n && result == 0; i++)
        result = visit(objects[i], arg);
    free(objects);
    return result;
}

int heap_open(struct remap *r)
{
    r->heap = calloc(1, sizeof *r->heap);
    if (r->heap)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static size_t bitmap_bytes(const struct mapping *m)
{
    return ((m->high - m->low) / 16 + 63) / 64 * sizeof(uint64_t);
}

static void unmap(struct heap *heap)
{
    for (size_t i = 0; heap->bitmaps && i < heap->memory.n; i++)
        if (heap->bitmaps[i])
            munmap(heap->bitmaps[i], bitmap_bytes(&heap->memory.mappings[i]));
    free(heap->bitmaps);
    memory_close(&heap->memory);
    heap->bitmaps = NULL;
    heap->mapped = heap->memory_open = false;
}

void heap_close(struct remap *r)
{
    if (!r->heap)
        return;
    unmap(r->heap);
    free(r->heap->objects);
    free(r->heap);
}

/* Takes the engine's and the caller's own out of the list. */
static int leave_out(struct remap *r)
{
    struct heap *heap = r->heap;
    struct address_set ours = {0};
    size_t n = 0;
    int status = 0;

    for (size_t i = 0; i < r->n_excluded && status >= 0; i++)
        status = address_set_add(&ours, (uintptr_t)r->excluded[i]);
    for (size_t i = 0; i < r->n_graves && status >= 0; i++)
        status = address_set_add(&ours, (uintptr_t)r->graves[i]);
    if (status < 0) {
        address_set_free(&ours);
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; ours.n && i < heap->n; i++)
        if (!address_set_has(&ours, (uintptr_t)heap->objects[i]))
            heap->objects[n++] = heap->objects[i];
    if (ours.n)
        heap->n = n;
    address_set_free(&ours);
    return 0;
}

int heap_scan(struct remap *r)
{
    struct heap *heap = r->heap;

    unmap(heap);
    free(heap->objects);
    heap->objects = NULL;
    heap->n = 0;
    if (gc_objects(&heap->objects, &heap->n) < 0)
        return -1;
    heap->scans++;
    return leave_out(r);
}

int remap_each(struct remap *r, int (*visit)(PyObject *, void *), void *arg)
{
    int result = 0;

    for (size_t i = 0; i < r->heap->n && result == 0; i++)
        result = visit(r->heap->objects[i], arg);
    return result;
}

/* The word of the bitmap for `address`; NULL if there is none. */
static uint64_t *bitmap_word(struct heap *heap, uintptr_t address, bool create)
{
    const struct mapping *m = memory_at(&heap->memory, address);
    size_t index;
    void *map;

    if (!m)
        return NULL;
    index = (size_t)(m - heap->memory.mappings);
    if (!heap->bitmaps[index]) {
        if (!create)
            return NULL;
        map = mmap(NULL, bitmap_bytes(m), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED)
            return NULL;
        heap->bitmaps[index] = map;
    }
    return &heap->bitmaps[index][(address - m->low) / 16 / 64];
}

static uint64_t bit_of(struct heap *heap, uintptr_t address)
{
    return UINT64_C(1) << (address - memory_at(&heap->memory, address)->low) / 16 % 64;
}

int heap_memory(struct heap *heap)
{
    if (!heap->memory_open && memory_open(&heap->memory) < 0)
        return -1;
    heap->memory_open = true;
    return 0;
}

int heap_map(struct heap *heap)
{
    size_t n = 0;

    if (heap->mapped)
        return 0;
    if (heap_memory(heap) < 0)
        return -1;
    heap->bitmaps = calloc(heap->memory.n + 1, sizeof *heap->bitmaps);
    for (size_t i = 0; heap->bitmaps && i < heap->n; i++) {
        uintptr_t address = (uintptr_t)heap->objects[i];
        uint64_t *word = bitmap_word(heap, address, true);

        if (word)
            *word |= bit_of(heap, address);
        else if (memory_at(&heap->memory, address))
            break;
        n++;
    }
    heap->mapped = heap->bitmaps && n == heap->n;
    if (!heap->mapped)
        PyErr_NoMemory();
    return heap->mapped ? 0 : -1;
}

bool heap_has(struct heap *heap, uintptr_t address)
{
    const uint64_t *word = address % 16 ? NULL : bitmap_word(heap, address, false);

    return word && *word & bit_of(heap, address);
}

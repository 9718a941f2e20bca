#include "big.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpython/api.h"

enum { SMALL = 32 << 10 }; /* from malloc: below what it ever asks the kernel for */

struct block {
    _Alignas(16) size_t bytes; /* this header included */
    char array[];
};

static struct block *block_of(void *array)
{
    return (struct block *)((char *)array - offsetof(struct block, array));
}

static struct block *allocate(size_t bytes)
{
    struct block *block;

    if (bytes <= SMALL)
        return calloc(1, bytes);
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void release(struct block *block)
{
    if (block->bytes <= SMALL)
        free(block);
    else
        munmap(block, block->bytes);
}

static struct block *move(struct block *block, size_t bytes)
{
    struct block *moved;

    if (block->bytes > SMALL && bytes > SMALL) {
        moved = mremap(block, block->bytes, bytes, MREMAP_MAYMOVE);
        if (moved != MAP_FAILED)
            return moved;
    }
    moved = allocate(bytes);
    if (!moved)
        return NULL;
    memcpy(moved, block, block->bytes < bytes ? block->bytes : bytes);
    release(block);
    return moved;
}

void *big_realloc(void *array, size_t bytes)
{
    struct block *block;

    bytes += sizeof *block;
    block = array ? move(block_of(array), bytes) : allocate(bytes);
    if (!block)
        return NULL;
    block->bytes = bytes;
    return block->array;
}

void big_free(void *array)
{
    if (array)
        release(block_of(array));
}

bool big_double(void *array, size_t *cap, size_t size)
{
    size_t bigger = *cap ? 2 * *cap : 64;
    void *moved = big_realloc(*(void **)array, bigger * size);

    if (!moved)
        return false;
    *(void **)array = moved;
    *cap = bigger;
    return true;
}

int big_reserve_or_raise(void *array, size_t n, size_t *cap, size_t size)
{
    if (big_reserve(array, n, cap, size))
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Allocations of the interpreter that fail when told, as _testcapi.set_nomemory does, which not
 * every interpreter has; and it tells how many there were.  For test_remap_faults.py, by ctypes. */
#include <stddef.h>

/* PyMemAllocatorEx, Include/cpython/pymem.h (3.8 to 3.15). */
struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};

enum { DOMAINS = 3 }; /* raw, mem, object */

void PyMem_GetAllocator(int domain, struct allocator *);
void PyMem_SetAllocator(int domain, struct allocator *);

static struct allocator before[DOMAINS];
static long count, from, to;
static int spared;

static int fails(void)
{
    if (spared)
        return 0;
    count++;
    return count >= from && count <= to;
}

static void *our_malloc(void *context, size_t size)
{
    struct allocator *a = context;

    return fails() ? NULL : a->malloc(a->context, size);
}

static void *our_calloc(void *context, size_t n, size_t size)
{
    struct allocator *a = context;

    return fails() ? NULL : a->calloc(a->context, n, size);
}

static void *our_realloc(void *context, void *old, size_t size)
{
    struct allocator *a = context;

    return fails() ? NULL : a->realloc(a->context, old, size);
}

static void our_free(void *context, void *old)
{
    struct allocator *a = context;

    a->free(a->context, old);
}

/* The allocations number `first` to `last` from now on fail. */
void fail(long first, long last)
{
    count = 0;
    from = first;
    to = last;
    for (int domain = 0; domain < DOMAINS; domain++) {
        struct allocator ours = {&before[domain], our_malloc, our_calloc, our_realloc, our_free};

        PyMem_GetAllocator(domain, &before[domain]);
        PyMem_SetAllocator(domain, &ours);
    }
}

/* While `yes`, none fails and none is counted. */
void spare(int yes)
{
    spared = yes;
}

/* None fails any more; how many there were. */
long stop(void)
{
    for (int domain = 0; domain < DOMAINS; domain++)
        PyMem_SetAllocator(domain, &before[domain]);
    return count;
}

/* Failing allocations, for the tests (make FAULTS=1 only): the linker sends all calls of malloc,
 * calloc, realloc, mmap and mremap in the agent here (--wrap). */
#ifdef PYHOT_FAULTS

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#define EXPORTED __attribute__((visibility("default")))

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__real_mremap(void *, size_t, size_t, int, ...);

void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mremap(void *, size_t, size_t, int, ...);

static long countdown; /* 0: none is to fail */
static int failed;

/* Let the n-th allocation from now on fail; 0: none.  Returns whether the last one did. */
EXPORTED int pyhot_fail_allocation(long n);
EXPORTED int pyhot_fail_allocation(long n)
{
    int before = failed;

    countdown = n;
    failed = 0;
    return before;
}

static int fails(void)
{
    if (!countdown || --countdown)
        return 0;
    failed = 1;
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
    return fails() ? NULL : __real_realloc(old, n);
}

void *__wrap_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(address, n, protection, flags, fd, offset);
}

void *__wrap_mremap(void *old, size_t n, size_t size, int flags, ...)
{
    return fails() ? MAP_FAILED : __real_mremap(old, n, size, flags);
}

#endif

/* Memory for arrays that may be large, given back to the kernel as soon as they are freed.
 *
 * malloc would keep it: the first large block that is freed raises the size from which on it asks
 * the kernel for each (M_MMAP_THRESHOLD, mallopt(3)), for the process as well, which would stay
 * larger by what pyhot once needed. */
#ifndef PYHOT_BIG_H
#define PYHOT_BIG_H

#include <stdbool.h>
#include <stddef.h>

/* As realloc and free, for what came from here; a new array is all zero.  NULL: out of memory. */
void *big_realloc(void *array, size_t bytes);
void big_free(void *array);

/* Twice the room; see big_reserve. */
bool big_double(void *array, size_t *cap, size_t size);

/* Makes room for one more item of `size` bytes behind the `n` of an array that has room for *cap;
 * `array` is the address of the pointer to it.  False: out of memory, and nothing has changed.
 * Needs no GIL. */
static inline bool big_reserve(void *array, size_t n, size_t *cap, size_t size)
{
    return n < *cap || big_double(array, cap, size);
}

/* The same, for callers with the GIL: 0, or -1 with MemoryError. */
int big_reserve_or_raise(void *array, size_t n, size_t *cap, size_t size);

#endif

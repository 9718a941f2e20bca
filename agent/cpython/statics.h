/* Static variables of C code: the words in the writable data of the program and its libraries.
 *
 * That a word equals an object's address does not prove that it is a counted reference. */
#ifndef PYHOT_CPYTHON_STATICS_H
#define PYHOT_CPYTHON_STATICS_H

#include <stdbool.h>

#include "api.h"

struct static_word {
    uintptr_t value;  /* not 0 */
    uintptr_t before; /* what is in the word before it */
    uintptr_t *address;
    const char *file; /* absolute, or as the loader was given it; borrowed for the visit */
    uintptr_t offset; /* of the variable in that file as linked: what nm(1) says */
};

/* Visits each word that is not 0, but those of this library, until `visit` returns non-zero,
 * which is then returned.  -1: out of memory, no exception set.  No lock is held when `visit` is
 * called. */
int static_words(int (*visit)(const struct static_word *, void *arg), void *arg);

/* Is it of a cache of the interpreter's, which counts no reference?  The method cache
 * (Objects/typeobject.c) remembers by name what lookups found.  _PyRuntime has the main interpreter
 * from 3.11 on, and that has the functions by version from 3.12 on (func_version_cache,
 * Include/internal/pycore_function.h), the types by version from 3.13 on (type_version_cache,
 * pycore_interp.h) and free lists.  What is counted there (signal handlers, callbacks of
 * sys.monitoring, thread states) has names of its own. */
bool static_is_uncounted(const struct static_word *);

/* The variable that the word is in, by the dynamic symbol table, and how many bytes inside;
 * borrowed.  NULL: it has no dynamic symbol, as few static variables have. */
const char *static_symbol(const struct static_word *, size_t *inside);

/* Copies memory of this process; false: not all of it is mapped. */
bool read_safely(const void *address, void *to, size_t bytes);

/* The same of `n` addresses, one behind the other into `to`; got[i] tells of the i-th.  A call of
 * the kernel serves many. */
void read_each_safely(const uintptr_t *addresses, size_t n, void *to, size_t bytes, bool *got);

#endif

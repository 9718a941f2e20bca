/* agent/cpython/gc_objects.c; used up to 3.13 */
#ifndef FIELD

#if MINOR <= 8
#include "internal/pycore_pymem.h"
#else
#include "internal/pycore_gc.h"
#endif

#elif MINOR <= 13

SIZE(struct gc_head, PyGC_Head)
FIELD(struct gc_head, next, PyGC_Head, _gc_next)
FIELD(struct gc_head, prev, PyGC_Head, _gc_prev)
SIZE(struct generation, struct gc_generation)
FIELD(struct generation, head, struct gc_generation, head)
FIELD(struct generation, threshold, struct gc_generation, threshold)
FIELD(struct generation, count, struct gc_generation, count)

/* generation0 is at the first multiple of 8 behind the lists, wherever those begin. */
#define BEHIND_LISTS                                                                               \
    (offsetof(struct _gc_runtime_state, generations) +                                             \
     sizeof(((struct _gc_runtime_state *)0)->generations))
#define FROM_GENERATION0(member)                                                                   \
    (offsetof(struct _gc_runtime_state, member) - offsetof(struct _gc_runtime_state, generation0))
VALUE("three generations", 3 * sizeof(struct generation),
      sizeof(((struct _gc_runtime_state *)0)->generations))
VALUE("generation0", 0, offsetof(struct _gc_runtime_state, generation0) - (BEHIND_LISTS + 7 & ~7))
VALUE("permanent_generation", offsetof(struct collector, permanent),
      FROM_GENERATION0(permanent_generation))
VALUE("generation_stats", offsetof(struct collector, stats), FROM_GENERATION0(generation_stats))
VALUE("collecting", offsetof(struct collector, collecting), FROM_GENERATION0(collecting))

#endif

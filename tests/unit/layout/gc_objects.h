/* agent/cpython/gc_objects.c */
#ifndef FIELD

#if MINOR <= 8
#include "internal/pycore_pymem.h"
#else
#include "internal/pycore_gc.h"
#endif

#else

SIZE(struct gc_head, PyGC_Head)
FIELD(struct gc_head, next, PyGC_Head, _gc_next)
FIELD(struct gc_head, prev, PyGC_Head, _gc_prev)
SIZE(struct generation, struct gc_generation)
FIELD(struct generation, head, struct gc_generation, head)
FIELD(struct generation, threshold, struct gc_generation, threshold)
FIELD(struct generation, count, struct gc_generation, count)

VALUE("three generations", 3 * sizeof(struct generation),
      sizeof(((struct _gc_runtime_state *)0)->generations))

/* What is behind the lists is at the first multiple of 8, wherever those begin. */
#define END(member)                                                                                \
    (offsetof(struct _gc_runtime_state, member) + sizeof(((struct _gc_runtime_state *)0)->member))
#define BEHIND(list, member) (offsetof(struct _gc_runtime_state, member) - (END(list) + 7 & ~7))

#if MINOR <= 13
#define FROM_GENERATION0(member)                                                                   \
    (offsetof(struct _gc_runtime_state, member) - offsetof(struct _gc_runtime_state, generation0))
VALUE("generation0", 0, BEHIND(generations, generation0))
VALUE("permanent_generation", offsetof(struct collector, permanent),
      FROM_GENERATION0(permanent_generation))
VALUE("generation_stats", offsetof(struct collector, stats), FROM_GENERATION0(generation_stats))
VALUE("collecting", offsetof(struct collector, collecting), FROM_GENERATION0(collecting))
#else
#if MINOR == 14
#define COLLECTOR struct collector_14
#else
#define COLLECTOR struct collector_15
#endif
VALUE("permanent_generation", 0,
      offsetof(struct _gc_runtime_state, permanent_generation) - END(generations))
VALUE("generation_stats", offsetof(COLLECTOR, stats),
      BEHIND(permanent_generation, generation_stats))
VALUE("collecting", offsetof(COLLECTOR, collecting), BEHIND(permanent_generation, collecting))
VALUE("generation0", offsetof(COLLECTOR, generation0), BEHIND(permanent_generation, generation0))
#endif

#endif

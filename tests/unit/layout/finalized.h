/* agent/cpython/finalized.h, and the header of an object that the collector knows */
#ifndef FIELD

#if MINOR >= 9
#include "internal/pycore_gc.h"
#endif

#else

VALUE("from _gc_prev to the object", sizeof(uintptr_t),
      sizeof(PyGC_Head) - offsetof(PyGC_Head, _gc_prev))
VALUE("from _gc_next to the object", 2 * sizeof(uintptr_t),
      sizeof(PyGC_Head) - offsetof(PyGC_Head, _gc_next))
VALUE("finalized, a bit of _gc_prev", 1, _PyGC_PREV_MASK_FINALIZED)
#if MINOR >= 11
VALUE("Py_TPFLAGS_MANAGED_DICT", 1UL << 4, Py_TPFLAGS_MANAGED_DICT)
#endif
#if MINOR >= 12
VALUE("Py_TPFLAGS_MANAGED_WEAKREF", 1UL << 3, Py_TPFLAGS_MANAGED_WEAKREF)
#endif

#endif

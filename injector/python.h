/* The CPython inside a process: where it is, which version, whether it can be served; and
 * the libc functions that the thread we start in it needs.  Read from outside, through
 * libdwfl over the target's own mapped files; nothing runs in the target. */
#ifndef PYHOT_PYTHON_H
#define PYHOT_PYTHON_H

#include "target.h"

struct python {
    int major, minor, micro;
    char version[32]; /* "3.11.2" */
    char *library;    /* path of libpython as the target's loader knows it; NULL: the executable */
    uint64_t runtime; /* address of _PyRuntime */
    /* PyEval_SaveThread, PyEval_RestoreThread, PyGILState_GetThisThreadState,
     * PyThreadState_GetUnchecked; 0: it has no such function. */
    uint64_t save_thread, restore_thread, this_state, current_state;
    /* Entry points in the target's libc (or libdl, libpthread of an old glibc): */
    uint64_t dlopen, dlsym, dlerror, pthread_create, pthread_detach, pthread_self, munmap, mmap,
        close;
    uint64_t loaded_agent; /* address of PYHOT_ENTRY of an agent of our own build, or 0 */
};

/* Finds it or says what is there instead: not a CPython, PyPy, free-threaded, a version that is
 * not known, not yet initialised, finalizing, statically linked without a dynamic loader. */
struct error *python_find(struct python *, const struct target *)
    __attribute__((warn_unused_result));
void python_clear(struct python *);

#endif

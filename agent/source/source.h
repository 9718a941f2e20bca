/* The source of a loaded module: where it is, what it says now, what it compiles to.
 *
 * Found as the module's own loader would find it.  Files are read here, in one go, and not
 * through the import machinery, which would fill caches of the target; only a loader that
 * is not CPython's own is asked, by its get_data or get_source.
 *
 * GIL held; it is released while files are read.  0, or -1 with a Python exception. */
#ifndef PYHOT_SOURCE_H
#define PYHOT_SOURCE_H

#include <stdbool.h>
#include <time.h>

#include "cpython/api.h"

enum source_state {
    SOURCE_READ,
    SOURCE_NONE,       /* there is none: built-in, extension, namespace package, ... */
    SOURCE_UNREADABLE, /* there was one, it cannot be read now */
};

struct source {
    enum source_state state;
    char why[160];         /* not SOURCE_READ: continues "module NAME ..." */
    bool became_other;     /* SOURCE_UNREADABLE: a module that is a package now, or the reverse */
    PyObject *name;        /* str: the name in sys.modules */
    PyObject *loaded_file; /* str: co_filename of the loaded code; NULL: unknown */
    PyObject *file; /* str: that of the new code: the same, unless the release was switched */
    PyObject *text; /* bytes, or str from a loader that has nothing else */
    PyObject *loader;
    bool on_disk;                      /* text is a file's; then: */
    struct timespec changed, modified; /* st_ctime (of links on the way too), st_mtime */
    long long size;
};

/* Fills `source`, which source_clear releases whatever the result is.  No source is a state,
 * not a failure. */
int source_read(struct source *source, PyObject *name, PyObject *module);
void source_clear(struct source *source);

/* Reads sources and cached byte code of modules[from] to modules[to - 1], a list of (name, module),
 * in one go without the GIL; forgets those read ahead before.  Frees that memory if from == to. */
void source_read_ahead(PyObject *modules, Py_ssize_t from, Py_ssize_t to);

/* Has the module a loader that compiles it in its own way? */
bool source_has_compiler(const struct source *source);

/* The code object of the module as the next execution needs it: of __main__, what its guard
 * `if __name__ == "__main__":` protects is left out.  New reference, or NULL with the
 * exception (SyntaxError, ...) that Python's own compilation raised. */
PyObject *source_compile(const struct source *source);

#endif

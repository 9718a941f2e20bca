/* What source a module was loaded from: the code object of its last execution.
 *
 * Known from an earlier reload of ours, or where the file on disk is older than the process,
 * or from the cached byte code beside it; believed only if the code of the module's living
 * functions is in it. */
#ifndef PYHOT_LOADED_H
#define PYHOT_LOADED_H

#include <stdbool.h>

#include "source.h"

/* `new_code` is what `source` compiles to now.  New reference to the module code that is
 * loaded; NULL without an exception: not known; NULL with one: out of memory.  GIL held; runs
 * no Python code. */
PyObject *loaded_code(PyObject *module, const struct source *source, PyObject *new_code);

/* The cached byte code beside the source, if it was made from the source as it is now: what
 * compiling would give.  New reference, or NULL without an exception. */
PyObject *cached_current_code(PyObject *module, const struct source *source);

/* Module code that is probably what is loaded: an earlier reload's, or the cached byte code
 * whatever its age.  For questions whose answer the live values confirm.  New reference, or
 * NULL without an exception.  The GIL is held throughout, the file is read under it. */
PyObject *loaded_guess(PyObject *name, PyObject *module);

/* New set of a module's code and all within it. */
PyObject *code_set(PyObject *code);

/* From now on `code` is what module `name` was loaded from.  0, or -1 with an exception. */
int loaded_remember(PyObject *name, PyObject *code);

/* The same instructions, constants and line numbers, nested code included?  1, 0, or -1 with
 * an exception. */
int code_same(PyObject *a, PyObject *b);

#endif

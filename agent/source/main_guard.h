/* Compiling __main__ without the part that runs the program. */
#ifndef PYHOT_MAIN_GUARD_H
#define PYHOT_MAIN_GUARD_H

#include "cpython/api.h"

/* Compiles `text` (bytes or str) as `file` without the bodies of its top-level
 * `if __name__ == "__main__":`; their else branches stay.  New reference to a code object,
 * or NULL with an exception. */
PyObject *compile_without_main(PyObject *text, PyObject *file);

/* builtins.compile(source, file, "exec", flags, dont_inherit=True, optimize=-1): what the
 * import machinery calls.  New reference. */
PyObject *compile_exec(PyObject *source, PyObject *file, int flags);

#endif

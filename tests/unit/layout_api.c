/* Our declarations of the C API after CPython's own: a signature that differs does not compile.
 * layout_undef.h, made by layout.py, undefines the macros that would hide our declarations. */
#include <Python.h>

#include "layout_undef.h"

#include "../../agent/cpython/api.h"

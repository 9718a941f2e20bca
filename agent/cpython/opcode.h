/* The numbers of this interpreter's opcodes and what their arguments mean, without importing
 * `opcode`, which would leave the extension module _opcode mapped in the target. */
#ifndef PYHOT_CPYTHON_OPCODE_H
#define PYHOT_CPYTHON_OPCODE_H

#include "api.h"

/* New reference to a dict with what Lib/opcode.py defines: "opmap", and the lists "hasname",
 * "hasconst", "haslocal", "hasjrel", "hasjabs".  NULL with an exception.  GIL held. */
PyObject *opcode_tables(void);

#endif

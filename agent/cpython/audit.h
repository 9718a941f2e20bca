/* Audit hooks of Python (sys.addaudithook): functions of the program that the interpreter calls at
 * certain operations, setting __class__ or asking for a frame's code among them. */
#ifndef PYHOT_CPYTHON_AUDIT_H
#define PYHOT_CPYTHON_AUDIT_H

#include "api.h"

/* The hooks.  Fills `hooks` with addresses to be compared, not followed, and returns their
 * number. */
size_t audit_hooks(const PyObject **hooks, size_t most);

/* From audit_hide to audit_show no hook is called.  The GIL is held all the time.  Calls nest. */
void audit_hide(void);
void audit_show(void);

#endif

/* Audit hooks of Python (sys.addaudithook): functions of the program that the interpreter calls at
 * certain operations, setting __class__ or asking for a frame's code among them. */
#ifndef PYHOT_CPYTHON_AUDIT_H
#define PYHOT_CPYTHON_AUDIT_H

#include "api.h"

/* The hooks.  Fills `hooks` with addresses to be compared, not followed, and returns their
 * number. */
size_t audit_hooks(const PyObject **hooks, size_t most);

/* Finds out where hooks are, if there are any: what audit_hide_known relies on. */
void audit_look(void);

/* From audit_hide to audit_show no hook is called.  The GIL is held all the time.  Calls nest. */
void audit_hide(void);
void audit_hide_known(void); /* quickly: those that a program adds after the look may be called */
void audit_show(void);

#endif

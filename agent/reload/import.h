/* builtins.__import__, and what finds modules that are not loaded, during an execution aside
 * (execute.h). */
#ifndef PYHOT_IMPORT_H
#define PYHOT_IMPORT_H

#include "execute.h"

/* From here to the removal, imports of the code that `e` executes lead to `e`'s shadows.  One
 * at a time in a process.  0, or -1 with an exception. */
int import_hook_install(struct execution *e);

/* Cannot fail.  If somebody has wrapped one of the functions meanwhile, theirs stays, and ours
 * inside it only calls the original from now on. */
void import_hook_remove(void);

#endif

/* sys.modules during an execution aside (execute.h), for Python code that looks there instead of
 * importing: libraries that evaluate annotations in the namespace of a class's module, and
 * sys.modules[__name__].
 *
 * The interpreter's own dict keeps the live modules throughout.  The attribute of sys is for that
 * time an object that hands everything on to it, except that the executing thread finds shadows. */
#ifndef PYHOT_SYS_MODULES_H
#define PYHOT_SYS_MODULES_H

#include "execute.h"

/* From here to the removal.  Nothing is done if sys.modules is not the interpreter's dict.  0, or
 * -1 with an exception. */
int sys_modules_install(struct execution *e);

/* Cannot fail.  Who has kept ours has the interpreter's dict in it. */
void sys_modules_remove(void);

#endif

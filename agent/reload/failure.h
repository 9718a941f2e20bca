/* An exception of the target as the report has it. */
#ifndef PYHOT_FAILURE_H
#define PYHOT_FAILURE_H

#include "cpython/api.h"

/* Takes the current exception.  New reference to {"type","message","traceback"}, the traceback
 * as Python prints it; NULL with MemoryError.  Source lines are read from the files as they are
 * now, without linecache, whose contents belong to the running code.  GIL held. */
PyObject *failure_take(void);

#endif

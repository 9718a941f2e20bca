/* The reload of one or more modules as one transaction (DESIGN.md 4.1). */
#ifndef PYHOT_RELOAD_H
#define PYHOT_RELOAD_H

#include <stdint.h>

#include "cpython/api.h"

struct reload_options {
    uint32_t flags;       /* enum pyhot_flag */
    uint32_t data_policy; /* enum pyhot_data_policy */
    PyObject *new_names;  /* list of str: --new; borrowed */
    PyObject *keep_names; /* list of str: --keep; borrowed */
};

/* Reloads the modules named in `names` (list of str).  GIL held; it is released while
 * Python code of the new source runs, as in any import.
 *
 * New reference to a dict: the `attach` object of DESIGN.md section 5 without "pid",
 * "time"."total_ms" and "time"."stop_us", with "exit" (0, 1 or 5).  The new source's own
 * failure is such a dict ("result":"failed", "error":{...}), not an exception.
 *
 * NULL: job_fail() was called (module not loaded, no source, cancelled, ...), or, on a
 * fault of ours or MemoryError, an exception is set.  Either way nothing is changed. */
PyObject *reload_modules(PyObject *names, const struct reload_options *);

#endif

/* Is this interpreter laid out as the files of this folder believe? */
#ifndef PYHOT_CPYTHON_PROBES_H
#define PYHOT_CPYTHON_PROBES_H

#include <stdbool.h>

/* Tries each belief once, on objects of our own and on types; nothing is followed that was not
 * read safely first.  NULL: all hold.  Else the first that does not: "the layout of dicts".
 * GIL held; no exception is set. */
const char *probes_failed(void);

#endif

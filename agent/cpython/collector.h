/* Switching automatic collection off and on again. */
#ifndef PYHOT_CPYTHON_COLLECTOR_H
#define PYHOT_CPYTHON_COLLECTOR_H

#include <stdbool.h>

#include "api.h"

/* No automatic collection from here to collector_resume(*was_on).  0, or -1 with an exception. */
int collector_pause(bool *was_on);
void collector_resume(bool was_on);

/* A full collection, as by gc.collect(): runs finalizers of the target.  0, or -1. */
int collector_collect(void);

#endif

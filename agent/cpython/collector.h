/* Switching off and on again what would run code of the program in the middle of our work:
 * automatic collection, and audit hooks. */
#ifndef PYHOT_CPYTHON_COLLECTOR_H
#define PYHOT_CPYTHON_COLLECTOR_H

#include <stdbool.h>

#include "api.h"

/* Waits until no collection is under way, the GIL let go meanwhile.  Then there is no automatic
 * collection and no audit hook to collector_resume(*was_on); the caller holds the GIL all that
 * time.  If the job is cancelled while it waits, gc_objects says so.  0, or -1 with an exception.
 */
int collector_pause(bool *was_on);
void collector_resume(bool was_on);

/* The same for what is done in C at once, with the GIL held, and walks over no heap: nothing is
 * waited for, and of the hooks those are hidden that audit_look has found. */
int collector_hush(bool *was_on);

/* A full collection, as by gc.collect(): runs finalizers of the target.  0, or -1. */
int collector_collect(void);

#endif

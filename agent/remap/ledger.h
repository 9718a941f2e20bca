/* The accounts: for each key, references = found by traversal + in frames + held by C
 * holders known by name + ours + residual. */
#ifndef PYHOT_REMAP_LEDGER_H
#define PYHOT_REMAP_LEDGER_H

#include "engine.h"

/* The report's lists.  0, or -1 with an exception. */
int ledger_open(struct remap *);
void ledger_close(struct remap *);

/* After scans and frames: what nobody accounts for, over all keys. */
size_t ledger_unaccounted(const struct remap *);

/* Around the commit: how far the counts of the new objects are from what the references moved to
 * them would have made of them.  ledger_note before the first write: 0, or -1 with MemoryError.
 * ledger_compare after the last; needs no memory.  Where instances were migrated it is not known,
 * as their attributes were copied: 0.  `n_graves`: how many there were when all that may fail was
 * done; what was buried since are references that were moved. */
int ledger_note(struct remap *);
size_t ledger_compare(const struct remap *, size_t n_graves);

/* What the object is called, without running code of the target.  New reference. */
PyObject *ledger_name_of(PyObject *);

#endif

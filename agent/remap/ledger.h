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

#endif

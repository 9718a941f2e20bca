/* Registries that have the id() of an object as key, or in it. */
#ifndef PYHOT_IDENTITY_H
#define PYHOT_IDENTITY_H

#include "pairing.h"

/* Are they ints that are the ids of what is one object after the commit? */
bool is_same_identity(const struct pairing *, PyObject *old, PyObject *new_);

/* Where the new execution registered a second time by identity, one entry remains, with the
 * id of what stays.  Last of all: edits that are queued count.  0, or -1. */
int identities_follow(struct pairing *);

#endif

/* What a failed execution left outside its own dicts: a new function that a decorator put into
 * another module's table, a new instance in somebody's list. */
#ifndef PYHOT_LEFTOVER_H
#define PYHOT_LEFTOVER_H

#include "contents.h"

/* Takes it out again: dicts, lists and sets become what `contents` (or NULL) says they were;
 * elsewhere, what has an equivalent in the live module makes room for that, and the rest is removed
 * from those.  Found by ending the execution (`e` is empty afterwards) and a collection: what is
 * alive then, others hold.
 *
 * New reference to a list of str: the names of what could not be taken back; NULL with an
 * exception.  GIL held; finalizers of the target run. */
PyObject *leftover_take_back(struct execution *e, const struct contents *contents);

#endif

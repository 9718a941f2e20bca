/* Objects that lead to what a failed execution made: a framework's Route of a new function, a
 * tuple with a new function in it. */
#ifndef PYHOT_CARRIERS_H
#define PYHOT_CARRIERS_H

#include "births.h"
#include "contents.h"

/* Those that were made after the look of `contents` and refer to a birth that is held, themselves
 * or through others such.  GIL held; runs no Python code.  0, or -1 with an exception: what is in
 * the set is right then, too.  The set is the caller's to clear. */
int carriers_find(struct pointer_set *, const struct births *, const struct contents *);

#endif

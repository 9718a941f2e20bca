/* Taking what a failed execution made out of the containers of the program. */
#ifndef PYHOT_STRAYS_H
#define PYHOT_STRAYS_H

#include "births.h"
#include "contents.h"

/* Dicts, lists and sets become what `contents` says they were, as far as what the execution made is
 * in them; those that are not known lose what has no equivalent.  A deletion that fails is passed
 * over.  Hashes keys of the program.  `contents` may be NULL.  0, or -1 with an exception. */
int strays_remove(const struct births *, const struct contents *);

#endif

/* Classes of others that got other bases while the new source ran, as `Widget.__bases__ += (Form,)`
 * gives them: they hold the old class and the new one. */
#ifndef PYHOT_REBASED_H
#define PYHOT_REBASED_H

#include "contents.h"
#include "remap/remap.h"

/* Gives each class that `contents` knows the bases that it had.  What its metaclass refuses stays,
 * and is found by who looks for survivors.  `contents` may be NULL.  0, or -1 with an exception;
 * the mro() of a metaclass runs. */
int rebased_restore(const struct contents *);

/* Takes new classes out of the bases where the old one is too, which the remap will replace.  0, or
 * -1 with an exception; the mro() of a metaclass runs. */
int rebased_settle(const struct contents *, struct remap *);

#endif

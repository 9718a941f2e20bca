/* What the program's containers held before the new source ran, and which bases its classes had, so
 * that a failed execution can be taken out of them: those that are reached from sys.modules, the
 * nearest first, within a bound.
 *
 * Addresses are noted, to be compared only; nothing is kept alive but the definitions of the
 * program and the instances of the modules' own classes that are values of dicts, and classes. */
#ifndef PYHOT_CONTENTS_H
#define PYHOT_CONTENTS_H

#include "execute.h"

struct contents;

/* Looks, for the modules of `e`, which is about to run.  Values to be kept alive are put into
 * `kept`, a list.  No Python code runs; NULL with an exception.  contents_free takes NULL. */
struct contents *contents_look(const struct execution *e, PyObject *kept);
void contents_free(struct contents *);

/* What is known of a dict, list or set, or of an instance that had no dict: its elements, or
 * entries or attributes as key, value, key, value.  Only to be compared: they may be gone.  NULL:
 * not known. */
PyObject *const *contents_of(const struct contents *, PyObject *container, size_t *n);

/* Is it certain that the object was made after the look?  An address of before may be in use again,
 * so not every such object is known. */
bool contents_made_since(const struct contents *, PyObject *object);

/* Each class that is known, with the bases that it had, until `visit` returns non-zero, which is
 * then returned.  `contents` may be NULL. */
int contents_each_class(const struct contents *,
                        int (*visit)(PyObject *type, PyObject *bases, void *arg), void *arg);

/* May the value that contents_of gave of a dict be used? */
bool contents_kept(const struct contents *, PyObject *value);

#endif

/* Attributes of an instance that has no dict: from 3.11 on. */
#ifndef PYHOT_CPYTHON_SHARED_KEYS_H
#define PYHOT_CPYTHON_SHARED_KEYS_H

#include <stdbool.h>

#include "api.h"

/* Is the layout the one known?  Tried once on a class of our own, so not while the heap is
 * walked.  False up to 3.10, where every instance has its dict.  GIL held. */
bool shared_keys_known(void);

/* How many names instances of the class share, and each of them: borrowed. */
size_t shared_keys_count(PyTypeObject *class);
PyObject *shared_keys_name(PyTypeObject *class, size_t index);

/* 3.11 and 3.12: where the values to these names are, outside the instance; NULL where they are
 * in a dict, or in the instance. */
PyObject *const *shared_keys_values(PyObject *object);

/* The same where they are in the instance as well (from 3.13 on).  They may be a dict's too then.
 */
PyObject *const *shared_keys_any_values(PyObject *object);

#endif

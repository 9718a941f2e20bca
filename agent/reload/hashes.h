/* Dicts and sets whose keys are of a class that computes another hash now: they are given the new
 * hashes, or what is in them would not be found any more. */
#ifndef PYHOT_HASHES_H
#define PYHOT_HASHES_H

#include <stdbool.h>

#include "cpython/api.h"

/* Before the commit: does `new_class` hash its instances in another way, or can that not be
 * excluded? By the code of __hash__ and of the methods that it names.  Runs no Python code; no
 * exception. */
bool hashes_change(PyObject *old_class, PyObject *new_class);

/* After the commit, when instances are as the new classes (a list) want them: puts right all dicts,
 * sets, frozensets and weak references whose hashes depend on instances of these.  Calls __hash__,
 * never __eq__; equal keys stay two.  0, or -1 with the exception of the first __hash__ that
 * failed, or MemoryError: those keys stay where they are. */
int hashes_renew(PyObject *classes);

#endif

/* New definitions that the new source registered with an object that is dropped, as the live one
 * stays: a route of a web framework's new `app`. */
#ifndef PYHOT_UNREGISTERED_H
#define PYHOT_UNREGISTERED_H

#include "contents.h"
#include "pair/pair.h"

/* After pair_modules: for each name that is kept, and whose new value is an instance of a class of
 * others, which of the added functions and classes that one leads to: new reference to a dict of
 * lists of str, NULL with an exception.  Only what was made by the execution is looked through;
 * nothing is found if `contents` is not complete.  Runs no Python code. */
PyObject *unregistered(const struct module_pair *, const struct contents *contents);

#endif

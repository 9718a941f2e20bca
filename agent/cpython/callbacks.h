/* What C code of the interpreter calls: signal handlers, atexit functions, callbacks of
 * sys.monitoring, the filter of lazy imports.  Where no function of the API rewrites them the place
 * is found by its contents and proven by what the API says about it; else it is not returned. */
#ifndef PYHOT_CPYTHON_CALLBACKS_H
#define PYHOT_CPYTHON_CALLBACKS_H

#include "api.h"

enum { SIGNALS = 64 };

/* The handler that signal.getsignal(number) tells, 1 to SIGNALS: new reference, or NULL
 * without an exception: none, or the module is not loaded. */
PyObject *signal_handler(int number);

/* Where the interpreter keeps that handler; NULL: not found for certain. */
PyObject **signal_handler_field(int number);

/* The functions registered with atexit, in a new list; NULL: none, or not loaded.  Compares
 * them with an object of ours, as atexit.unregister does. */
PyObject *atexit_functions(void);

/* Unregisters the n-th of them, and no other that is equal to it. */
void atexit_remove(Py_ssize_t n);

/* Where the n-th of `functions` (atexit_functions) is kept; NULL: not found for certain. */
PyObject **atexit_field(PyObject *functions, Py_ssize_t n);

/* What sys.monitoring (from 3.12) calls for a tool and an event, borrowed, or NULL.  Asks by
 * taking the callback and giving it back. */
enum { MONITORING_TOOLS = 6, MONITORING_EVENTS = 19 };
PyObject *monitoring_callback(int tool, int event);

/* What sys.set_lazy_imports_filter (from 3.15) was given, borrowed, or NULL. */
PyObject *lazy_imports_filter(void);

#endif

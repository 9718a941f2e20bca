/* What the qualified names of functions and classes lead to now.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_STALE_NAMES_H
#define PYHOT_STALE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "cpython/api.h"

/* Two str that are equal; false for anything else, NULL too. */
bool same_text(PyObject *a, PyObject *b);

/* A name that no module or class has: of a local definition or a lambda. */
bool name_is_local(PyObject *qualname);

/* The function's qualified name, if it is the one that its code was compiled under and not one
 * copied from another function.  New reference, or NULL without an exception. */
PyObject *function_qualname(PyObject *function);
PyObject *class_qualname(PyObject *class);

/* Was it made in C, and put in the place of the one in the source, as those of decimal and
 * xml.etree.ElementTree are?  It has methods of C of its own. */
bool class_is_written_in_c(PyObject *class);

/* The live dict of the module: borrowed, or NULL. */
PyObject *module_dict(PyObject *name);

/* namespace[name], where a class's private names are mangled: borrowed, or NULL. */
PyObject *name_look_up(PyObject *namespace, PyObject *class_name, PyObject *name);

/* What the qualified name leads to from the module's dict: borrowed, or NULL. */
PyObject *name_resolve(PyObject *dict, PyObject *qualname);

/* What is within the object that a name leads to: itself, and what decorators left of it. */
enum { MAX_WITHIN = 128 };
struct within {
    PyObject *items[MAX_WITHIN]; /* borrowed */
    size_t n;
};
void look_within(struct within *, PyObject *object);

/* The function of the same name and module within `value` that is of another generation than
 * `code`: borrowed; NULL if there is none, or one that runs `code` itself.  What another module put
 * in its place, as gevent does with socket.create_connection, is no generation of it. */
PyObject *other_function(PyObject *value, PyObject *code, PyObject *module, PyObject *qualname);

/* How often the source of the module defines the name; 1 where it cannot be read.  The GIL is
 * released while the source is read.  `sources` is a dict, empty at first, that keeps what was read
 * for the next question. */
Py_ssize_t name_count_in_source(PyObject *sources, PyObject *module_name, PyObject *qualname);

#endif

/* Where a running frame keeps its references.  The collector does not see them: a running
 * frame is not tracked, and from 3.11 on frame_traverse shows nothing of it. */
#ifndef PYHOT_CPYTHON_FRAME_H
#define PYHOT_CPYTHON_FRAME_H

#include <stdbool.h>

#include "api.h"

struct frame_fields {
    PyObject *code;      /* borrowed */
    PyObject **function; /* 3.11+: the strong reference to the function; else NULL */
    PyObject **locals;   /* locals, cells and free variables, NULL where unbound */
    size_t n_locals;
    bool of_generator; /* 3.11+: its function is visited by the generator's traversal */
    bool traversed;    /* ... and its locals too: it has called another in Python */
};

/* Does the layout hold in this interpreter?  Tried once, by looking at a running frame of
 * our own: the first call runs Python code.  3.8 to 3.13; false from 3.14 on, where the
 * words are tagged.  GIL held. */
bool frame_layout_known(void);

/* Did the last look end with an exception: an audit hook refused our code, or memory was short? */
bool frame_look_prevented(void);

/* The fields of a running frame; valid while the GIL is held.  False: exception. */
bool frame_open(PyObject *frame, struct frame_fields *fields);

/* A frame's operand stack.  Words of it are to be compared only: unless it is exact, the unused
 * part is there too, with what was left over in it, maybe of objects that are gone.  To 3.10 how
 * much is in use is never written, to 3.13 not while the frame is in a C function.  From 3.14 on
 * words that are not counted references are tagged (Include/internal/pycore_stackref.h), and so
 * equal to no object's address. */
struct frame_operands {
    const uintptr_t *words;
    size_t n;
    bool exact;
};

/* Does that hold?  Tried with frame_layout_known; 3.8 and later.  GIL held. */
bool frame_operands_known(void);

/* None if the traversal of the frame's generator shows them.  False: exception. */
bool frame_operands(PyObject *frame, struct frame_operands *operands);

/* The thread's frame `frame.f_back`: new reference in *back, or NULL.  0, or -1 with an exception.
 */
int frame_back(PyObject *frame, PyObject **back);

/* `o.name` as an int, -1 (and no exception) if there is none. */
Py_ssize_t int_attribute(PyObject *o, const char *name);

#endif

/* An initialiser that is a display - {"a": f, "b": {...}}, [..], {..} - as a tree of its parts,
 * read from bytecode.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_DISPLAY_H
#define PYHOT_DISPLAY_H

#include "initialiser.h"

enum display_kind {
    DISPLAY_OTHER,    /* any expression */
    DISPLAY_CONSTANT, /* `value` */
    DISPLAY_NAME,     /* a name, or attributes of one */
    DISPLAY_LIST,
    DISPLAY_SET,
    DISPLAY_DICT, /* parts: key, value, key, value, ... */
};

struct display_node {
    enum display_kind kind;
    size_t first, n; /* the instructions that make it */
    PyObject *value; /* of a constant: borrowed from the display */
    ptrdiff_t parts; /* index of the first part, or -1 */
    ptrdiff_t last;  /* of the last part */
    ptrdiff_t next;  /* the next part of the same display, or -1 */
};

struct display {
    const struct body *body;
    struct display_node *nodes;
    size_t n;
    ptrdiff_t root;
    PyObject *owned; /* list of the values that are not in the code */
};

/* What the last statement for the name binds.  1; 0: not a display, or it has conditions or
 * comprehensions, so that its parts are not known; -1: exception.  Cleared with display_clear. */
int display_read(const struct body *, const struct binding *, struct display *);
void display_clear(struct display *);

#endif

/* What a namespace's source does with each name: the statements in the body of a module or a
 * class that bind it, as bytecode, and whether two versions of the body agree on them.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_INITIALISER_H
#define PYHOT_INITIALISER_H

#include <stdbool.h>

#include "cpython/bytecode.h"

enum binding_kind {
    BINDS_VALUE,
    BINDS_CONSTANT,  /* name = <constant>; also one of a tuple that is unpacked */
    BINDS_EMPTY,     /* name = {}, [], set(), dict(), list() */
    BINDS_ALIAS,     /* name = other, name = module.other: makes nothing */
    BINDS_FUNCTION,  /* def name */
    BINDS_DECORATED, /* def or class under decorators */
    BINDS_CLASS,     /* class name */
    BINDS_IMPORT,    /* import name, from ... import name */
};

struct binding {
    PyObject *name; /* borrowed from the code */
    enum binding_kind kind;
    size_t first, n;    /* the instructions that make the value */
    size_t store;       /* the one that binds it */
    PyObject *constant; /* of BINDS_CONSTANT: borrowed */
    ptrdiff_t next;     /* index of the next binding of the name, or -1 */
    PyObject *body;     /* BINDS_FUNCTION, BINDS_CLASS, BINDS_DECORATED: its code; borrowed */
};

struct body {
    struct bytecode code;
    struct binding *bindings; /* in the order of the source */
    size_t n;
    PyObject *first; /* dict: name -> index of its first binding */
    bool star;       /* has `from ... import *` */
};

/* `code`: the code of a module or of a class body.  0, or -1 with an exception. */
int body_read(PyObject *code, struct body *);
void body_clear(struct body *);

/* Is the name bound anywhere in it? */
bool body_binds(const struct body *, PyObject *name);

/* The last binding of the name, or NULL. */
const struct binding *body_binding(const struct body *, PyObject *name);

/* Is it a function or class, decorated or not?  False for NULL. */
bool binds_definition(const struct binding *);

/* Is it bound, and by `name = <constant>` only? */
bool body_always_constant(const struct body *, PyObject *name);

/* How many statements bind it. */
size_t body_count(const struct body *, PyObject *name);

/* Do both bind `name` in the same way, with the same values?  1, 0; -1: exception. */
int body_same(const struct body *old, const struct body *new_, PyObject *name);

/* The same but for lambdas: see bytecode_same_but_lambdas. */
int body_same_but_lambdas(const struct body *old, const struct body *new_, PyObject *name,
                          PyObject *lambdas);

/* The names that the initialisers of `name` use: new reference to a list of str. */
PyObject *body_uses(const struct body *, PyObject *name);

/* Do both set `name.attribute` in the same way, or neither?  1, 0; -1: exception. */
int body_attribute_same(const struct body *old, const struct body *new_, PyObject *name,
                        PyObject *attribute);

/* Is there a statement `name.attribute = ...`? */
bool body_sets_attribute(const struct body *, PyObject *name, PyObject *attribute);

/* Calls visit(arg, module, level, name, alias) for every `from module import name as alias`
 * that stores into a name; `name` is NULL for `import *`.  Stops when it returns non-zero. */
int body_imports(const struct body *,
                 int (*visit)(void *arg, PyObject *module, long level, PyObject *name,
                              PyObject *alias),
                 void *arg);

#endif

/* What an execution made that others may hold on to: functions, classes and their methods,
 * instances of its classes. */
#ifndef PYHOT_BIRTHS_H
#define PYHOT_BIRTHS_H

#include "contents.h"
#include "cpython/introspect.h"

/* A definition or a named instance of the failed execution, and what it would have replaced. */
struct birth {
    PyObject *weak;  /* weak reference to it */
    PyObject *name;  /* str: module and name */
    PyObject *old;   /* its equivalent in the live module, or NULL */
    PyObject *alive; /* strong, while it is taken back */
};

struct births {
    struct birth *items;
    size_t n, cap;
    struct pointer_set held; /* those that are held, for a first look */
    PyObject **dicts;        /* the execution's dicts: compared only, they may be gone */
    size_t n_dicts;
};

/* Before the execution is ended; `contents` of before it, or NULL.  0, or -1 with an exception;
 * births_clear in either case. */
int births_note(struct births *, const struct execution *, const struct contents *);
void births_clear(struct births *);

/* Collects, and holds those that are alive then.  Their number, or -1. */
Py_ssize_t births_hold_survivors(struct births *);
void births_let_go(struct births *);

/* Of those that are held: NULL if it is none. */
const struct birth *find_birth(const struct births *, PyObject *object);

/* Was the object, which is alive still, made by the execution: one of the above, or another
 * instance of a class of them? */
bool is_birth(const struct births *, PyObject *object);

/* Has it no place in the live program: is it one without an equivalent? */
bool is_stray(const struct births *, PyObject *object);

#endif

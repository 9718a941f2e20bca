/* Looking into objects of the target without running its code: no user-defined
 * __getattribute__, descriptor, __eq__ or __hash__ is ever called.
 *
 * GIL held.  Borrowed and new references as said. */
#ifndef PYHOT_CPYTHON_INTROSPECT_H
#define PYHOT_CPYTHON_INTROSPECT_H

#include <stdbool.h>

#include "api.h"

/* Clears an exception that only says that something is not there: 0.  -1: memory is short, which
 * is nothing to be passed over; it stays set. */
int pass_over_error(void);

/* Clears the exception of a question that is then answered with no.  That memory was short is
 * remembered, as what follows may rest on a wrong answer: was it, since this was asked last? */
void drop_error(void);
bool memory_was_short(void);

/* dict[name] for an ASCII name: borrowed, or NULL without an exception: it is not there.  Does not
 * fail for want of memory; an exception that is set stays. */
PyObject *dict_get(PyObject *dict, const char *name);

/* dict[key] where hashing and comparing `key` stays in C (see is_plain_key): borrowed, or
 * NULL without an exception. */
PyObject *dict_lookup(PyObject *dict, PyObject *key);

/* Does hashing `key`, and comparing it with an equal one, stay in C? */
bool is_plain_key(PyObject *key);

/* The own namespace of a class made by Python code: borrowed. */
PyObject *class_dict(PyObject *cls);

/* The str, or where it has lone surrogates, which are no UTF-8, a copy with `\\udcff` instead.
 * Takes a reference (or NULL) and returns one; NULL: exception, or `str` was NULL. */
PyObject *str_printable(PyObject *str);

/* A module that has a dict: to 3.10 ModuleType.__new__ makes one without, __init__ adds it
 * (Objects/moduleobject.c). */
bool is_module(PyObject *object);

/* A class made by Python code, not a builtin or static one. */
bool is_heap_class(PyObject *object);

/* The instance's __dict__: new reference, or NULL without an exception if it has none.
 * An empty one may be created, and inline values become a dict: both are invisible. */
PyObject *instance_dict(PyObject *object);

/* Does the instance have attributes that instance_dict would give? */
bool has_instance_dict(PyObject *object);

/* `name` of a builtin object as the C member or getset of `type` gives it, past any
 * subclass: new reference, or NULL without an exception. */
PyObject *builtin_attribute(PyObject *object, PyTypeObject *type, const char *name);

/* The data descriptor `name` that the static type itself has: borrowed, NULL with an exception if
 * there is none. */
PyObject *builtin_descr(PyTypeObject *type, const char *name);

/* sys.modules[module].__dict__[name]: borrowed, or NULL without an exception. */
PyObject *loaded_attribute(const char *module, const char *name);

/* `object` is an instance of exactly the class sys.modules[module].name. */
bool is_exactly(PyObject *object, const char *module, const char *name);

/* A field of a ctypes structure or union, in the namespace of its class.  Its type is no attribute
 * of a module before 3.14 (Modules/_ctypes/cfield.c). */
bool is_ctypes_field(const PyObject *object);

/* functools.partial and its subclasses; the type is NULL if functools is not loaded. */
PyTypeObject *partial_type(void);
bool is_partial(PyObject *object);

/* What a weakref.ref refers to: borrowed, good as long as nothing is released; NULL: dead. */
PyObject *weakref_target(PyObject *reference);

/* Pointers of objects, for tests inside a walk over the heap, where no Python object may be
 * made.  Zeroed before use; pointer_set_add is 0, or -1 with MemoryError. */
struct pointer_set {
    PyObject **slots;
    size_t n, cap;
};
int pointer_set_add(struct pointer_set *, PyObject *);
bool pointer_set_has(const struct pointer_set *, const PyObject *);
void pointer_set_clear(struct pointer_set *);

/* A str of ASCII that equals `text`. */
bool str_is(PyObject *str, const char *text);

/* __dunder__ names, and _sunder_ ones as enum has them. */
bool is_dunder(PyObject *str);
bool is_sunder(PyObject *str);

#endif

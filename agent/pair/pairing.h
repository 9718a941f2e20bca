/* Inside pair: what the walk over definitions and the data policy share.
 *
 *   pair.c       the walk over the names of modules; added and removed names
 *   definition.c what is a definition, and what it wraps
 *   function.c   functions and what wraps them
 *   holdings.c   what those hold: closure variables, attributes
 *   nested.c     code nested in functions
 *   replaced.c   what was replaced at run time
 *   place.c      functions by their place in the source, wherever they are held
 *   class.c      classes and their namespaces, enums
 *   bases.c      bases that a class was given at run time
 *   abc.c        abstract base classes: what others registered, and caches
 *   data.c       which value a name of data gets
 *   merge.c      what the new execution registered in a container that stays
 *   literal.c    containers whose display changed: what the sources say of their parts
 *   carry.c      what the program did to them
 *   reworded.c   registrations whose arguments changed
 *   doubled.c    what it registered a second time in lists elsewhere
 *   identity.c   what it registered a second time by id()
 *   importers.c  `from mod import CONSTANT` in other modules
 *   details.c    what -v lists
 *
 * Nothing here changes what the running program can see: it adds to the plan, and writes
 * only into objects of the new execution, which nobody else has. */
#ifndef PYHOT_PAIRING_H
#define PYHOT_PAIRING_H

#include "cpython/introspect.h"
#include "pair.h"
#include "source/initialiser.h"

/* The code objects of a module: qualified name -> list of them in the order of the source. */
struct places {
    PyObject *old, *new_; /* dicts; old is empty if the old source is not known */
};

struct pairing {
    struct plan *plan;
    struct remap *remap;
    struct module_pair *modules;
    struct body *old_bodies, *new_bodies; /* of the modules; old: code NULL if not known */
    struct places *places;                /* of the modules */
    size_t n;
    const struct pair_options *options;
    PyObject *origin;   /* dict: address of a new object (int) -> its old one */
    PyObject *edits;    /* list of (container, key, value): queued, see pairing_set */
    PyObject *merges;   /* list of (old, new, literals or None): what stays, see merge.c */
    PyObject *literals; /* list of (live, made, description): see literal.c */
    struct pointer_set
        kept_code; /* code of the functions that the new execution left; see data.c */
    bool kept_code_known;
    PyObject *moved; /* list of (module, name, old, new): see importers.c */
};

/* A namespace: a module's dict or a class body. */
struct scope {
    struct pairing *pairing;
    struct module_pair *module;
    const struct body *old, *new_; /* NULL: not known */
    const struct scope *outer;     /* of a class: its module */
    PyObject *cls;                 /* the new class, or NULL */
    PyObject *qualname;            /* of the class, or NULL */
    PyObject *name;                /* the name whose value is being paired, or NULL */
    bool unchanged;                /* its initialiser is the same in both sources */
};

/* --- pair.c */

/* References to `old` become references to `new_`.  1: added now; 0: it cannot be, or was
 * before (remap_get says to what); -1: exception. */
int pairing_add(struct pairing *, PyObject *old, PyObject *new_);

/* The old object of a new definition, borrowed, or NULL. */
PyObject *pairing_origin(const struct pairing *, PyObject *new_);

/* What references to `object` will refer to after the commit: borrowed. */
PyObject *pairing_final(const struct pairing *, PyObject *object);

/* Queue dict[key] = value (NULL: del) for the commit; `value` is followed through the map as
 * it is when all pairs are known. */
int pairing_set(struct pairing *, PyObject *dict, PyObject *key, PyObject *value);

/* Queue list.append(value) or set.add(value) in the same way. */
int pairing_insert(struct pairing *, PyObject *container, PyObject *value);

/* The module of the transaction that a function or class was defined in, or NULL. */
struct module_pair *pairing_module(const struct pairing *, PyObject *definition);

/* The module whose report counts what is replaced by definitions of `module`. */
struct module_pair *pairing_counts(struct module_pair *module);

/* A function or class that is defined in a module of the transaction. */
bool is_ours(const struct pairing *, PyObject *object);

/* --- definition.c */

/* A function or class of the transaction, or something of the standard kinds (bound method,
 * staticmethod, property, partial, a function with a closure, ...) that wraps one. */
bool is_definition(const struct pairing *, PyObject *object);

/* A function that runs in the dict of no loaded module: exec() made it. */
bool is_private(PyObject *object);

/* Two of those with one name. */
bool is_same_private(PyObject *old, PyObject *new_);

/* What a decorator makes of a definition may be an object of any class, but nothing that was there
 * before: no class, module, number or text. */
bool may_be_decorated(PyObject *object);

/* Did the source make `old`, as a definition, for this name? */
bool is_made_as_definition(const struct scope *, PyObject *name, PyObject *old);

/* The function of ours called `name` that `object` wraps, at most a few levels down (`depth`: 0):
 * borrowed as long as nothing changes, or NULL. */
PyObject *wrapped_function(const struct pairing *, PyObject *object, PyObject *name, int depth);

/* What `type X = ...` makes (3.12+). */
bool is_type_alias(const PyObject *object);

bool function_is_named(PyObject *function, PyObject *name);
bool is_lru_cache(PyObject *object);

/* Are both instances of the type, or of subclasses of it?  NULL: no. */
bool both_are(PyObject *old, PyObject *new_, PyTypeObject *type);

/* --- function.c */

/* Pairs two definitions and what they hold.  0, or -1. */
int pair_values(const struct scope *, PyObject *old, PyObject *new_);

/* --- holdings.c */

/* A function of any module, or what wraps a definition of ours: not data. */
bool is_callable_link(const struct pairing *, PyObject *object);

/* Pairs what the functions' closure variables and the objects' attributes hold.  What stays is
 * written into the new one; `keep_state`: also the state of a decorator.  0, or -1. */
int pair_cells(const struct scope *, PyObject *old, PyObject *new_, bool keep_state);
int pair_attributes(const struct scope *, PyObject *old, PyObject *new_, bool keep_state);

/* Pairs the type parameters (3.12+) of two functions, classes or aliases, by name.  0, or -1. */
int pair_type_parameters(const struct scope *, PyObject *old, PyObject *new_);

/* --- replaced.c */

/* Did somebody put `old` in place of what the source made at run time, so that it has to
 * stay?  1, 0, -1.  Pairs the original that it wraps. */
int stays_replaced(const struct scope *, PyObject *name, PyObject *old, PyObject *new_);

/* --- nested.c */

/* The index in `list` of the code that is the same program as `code`, on the same line if
 * several are, or -1. */
Py_ssize_t code_index(PyObject *list, PyObject *code);

/* Which of the new codes, a list, stands for the index-th of the old ones of that name: borrowed,
 * or NULL. */
PyObject *code_for(PyObject *old, PyObject *new_, Py_ssize_t index);

/* Functions that run `old` will run `new_`, and so with the code nested in them.  0, or -1. */
int pair_code_objects(const struct scope *, PyObject *old, PyObject *new_);

/* --- place.c */

/* Fills pairing.places.  0, or -1. */
int read_all_places(struct pairing *);

/* The body of the class `qualname`, the last if there are several: borrowed, or NULL. */
PyObject *class_body_at(PyObject *places, PyObject *qualname);

/* Pairs all live functions of the modules with the new ones made by the same place in the
 * source, wherever they are held.  0, or -1. */
int pair_functions_by_place(struct pairing *);

/* --- class.c */

/* Pairs two classes of the transaction and their namespaces.  0, or -1. */
int pair_classes(struct pairing *, PyObject *old, PyObject *new_);

/* --- bases.c */

/* Once all pairs are known: gives the new classes the bases that their old ones were given at run
 * time.  0, or -1. */
int keep_bases(struct pairing *);

/* --- abc.c */

/* Gives the new class the virtual subclasses that were registered with the old.  0, or -1. */
int pair_abc(struct pairing *, PyObject *old, PyObject *new_);

/* Once all pairs are known: answers of isinstance that abstract base classes remember may be about
 * old classes, so all are forgotten, which only costs time; others' subclasses of replaced classes
 * get their abstract methods counted again.  0, or -1. */
int refresh_abc(struct pairing *);

/* --- details.c */

/* Fills the modules' `details`.  0, or -1. */
int pair_details(struct pairing *);

#endif

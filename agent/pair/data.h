/* Data policy (DESIGN.md 4.2): which value does a name have after the reload? */
#ifndef PYHOT_DATA_H
#define PYHOT_DATA_H

#include "pairing.h"

enum data_fate {
    DATA_KEEP, /* the live value stays */
    DATA_TAKE, /* the value of the new execution */
};

/* For a name that both have and that is no definition.  -1: exception. */
int data_fate(const struct scope *, PyObject *name, PyObject *old, PyObject *new_);

/* Makes references to `new_` ones to `old` where the new execution made it, and queues the
 * merge of what it registered.  0, or -1. */
int data_keep(const struct scope *, PyObject *name, PyObject *old, PyObject *new_);

/* Makes references to `old` ones to `new_` where the module made it.  1: they follow;
 * 0: they do not, only the name gets the new value; -1. */
int data_take(const struct scope *, PyObject *name, PyObject *old, PyObject *new_);

/* Is what the source binds data, or another name for some?  NULL: no. */
bool binds_data(const struct binding *);

/* Is the initialiser of a name of data the same in both sources, and that of data it is made of?
 * Also for names that are no data of this source.  1, 0, -1. */
int data_unchanged(const struct scope *, PyObject *name);

/* List of the codes of lambdas, old, new, old, ...: do all the new ones belong to functions that
 * are alive, so that the initialiser kept them rather than computed something with them?  1, 0, -1.
 */
int lambdas_are_kept(struct pairing *, PyObject *lambdas);

/* A value that cannot change: numbers, text, tuples and frozensets of such, ... */
bool is_immutable(PyObject *);

/* Immutable values that are equal in type and value. */
bool same_value(PyObject *, PyObject *);

/* --- merge.c */

/* Keep `old` for `new_`, which the new execution made, and merge what it registered there.
 * `literals`: list of the constants that its initialiser put in (they are no registrations:
 * what is gone of them was taken out at run time), or NULL.  0, or -1. */
int merge_keep(struct pairing *, PyObject *old, PyObject *new_, PyObject *literals);

/* Are the values what one and the same registration made: one object, old and new of a pair,
 * equal immutable values, or tuples, bound methods and partials of such? */
bool is_same_entry(const struct pairing *, PyObject *old, PyObject *new_);

/* Pairs them if they are functions that exec() made under one name.  0, or -1. */
int pair_private(struct pairing *, PyObject *old, PyObject *new_);

/* Would `new_`, beside `old`, be another entry for the same?  As is_same_entry, and instances of
 * one class, before and after, count as one. */
bool is_repetition(const struct pairing *, PyObject *old, PyObject *new_);

/* Are they instances of one class, before and after? */
bool is_same_class(const struct pairing *, PyObject *old, PyObject *new_);

/* What pairing.merges holds.  0, or -1. */
int merge_all(struct pairing *);

/* --- reworded.c */

/* Are they tuples that one registration of a definition made, before and after its arguments
 * changed in the source? */
bool is_reworded(const struct pairing *, PyObject *old, PyObject *new_);

/* --- doubled.c */

/* Plans the removal of what the new execution registered a second time in lists elsewhere:
 * they hold the old object and the new one.  An instance that is there stays.  0, or -1. */
int doubled_remove(struct pairing *);

/* --- importers.c */

/* `from mod import NAME` elsewhere follows what pairing.moved lists.  0, or -1. */
int importers_follow(struct pairing *);

#endif

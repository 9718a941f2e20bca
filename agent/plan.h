/* What a reload will change, collected before anything is changed: references to be
 * remapped and entries of live containers to be set.  `reload` and `pair` fill it;
 * plan_commit does it all, or nothing.
 *
 * GIL held for every call.  0, or -1 with a Python exception set. */
#ifndef PYHOT_PLAN_H
#define PYHOT_PLAN_H

#include "remap/remap.h"

struct plan;

struct plan *plan_new(void);
void plan_free(struct plan *);

/* The engine's map; borrowed.  pair/pair.c adds old -> new to it with remap_add. */
struct remap *plan_remap(struct plan *);

/* At commit: dict[key] = value, del dict[key] (if there), list.append(value), removal of the
 * last element of `list` that is `value`, list[i] = value where `old` is, set.add(value),
 * set.discard(value), and for an entry of a dict another key: its value stays, or, unless `take`,
 * that of an entry which has this key.  Keys must be str or otherwise hash and
 * compare without Python code (plan_set says TypeError if not).  All arguments are borrowed;
 * references taken. */
int plan_set(struct plan *, PyObject *dict, PyObject *key, PyObject *value);
int plan_delete(struct plan *, PyObject *dict, PyObject *key);
int plan_append(struct plan *, PyObject *list, PyObject *value);
int plan_remove(struct plan *, PyObject *list, PyObject *value);
int plan_replace(struct plan *, PyObject *list, PyObject *old, PyObject *value);
int plan_add(struct plan *, PyObject *set, PyObject *value);
int plan_discard(struct plan *, PyObject *set, PyObject *value);

int plan_rename(struct plan *, PyObject *dict, PyObject *key, PyObject *to, bool take);

/* type.__setattr__ / type.__delattr__ on a live class at commit, past any metaclass. */
int plan_set_type(struct plan *, PyObject *type, PyObject *name, PyObject *value);
int plan_delete_type(struct plan *, PyObject *type, PyObject *name);

/* The dry part: remap_resolve.  After it nothing may be added. */
int plan_resolve(struct plan *);

/* Entries of dicts and classes first (each undone if a later step fails), then remap_commit,
 * then elements of lists and sets, whose memory the engine has looked at, and entries that are
 * deleted, as nothing could put them back in their place, then remap_verify.
 * No Python code of the target runs in between. */
int plan_commit(struct plan *);

/* After plan_commit: did remap_verify go through?  False: the change is made, but memory
 * ran out while it was counted. */
bool plan_verified(const struct plan *);

#endif

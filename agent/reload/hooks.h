/* The program's own hooks: __pyhot_before__, __pyhot_after__, __pyhot_upgrade__ (DESIGN.md 4.2).
 * GIL held for every call; it is released while a hook runs. */
#ifndef PYHOT_HOOKS_H
#define PYHOT_HOOKS_H

#include "execute.h"
#include "remap/remap.h"

struct hooks;

/* Calls the live module's __pyhot_before__(), if it has one.  0, or -1 with its exception. */
int hook_before(PyObject *module);

/* Before remap_resolve: keeps what the other hooks will be given.  NULL with an exception. */
struct hooks *hooks_new(const struct execution *, struct remap *);
void hooks_free(struct hooks *);

/* After remap_resolve: the live instances of classes that define __pyhot_upgrade__, or of
 * dataclasses that have gained fields (fields.h).  No Python
 * object is made and no reference taken, so the engine's counts hold.  0, or -1. */
int hooks_find_instances(struct hooks *);

/* After the commit, before the GIL is released for the first time: the instances found are
 * still there; now they are held.  0, or -1 with an exception: nobody is upgraded then. */
int hooks_hold_instances(struct hooks *, struct remap *);

/* Gives the instances of module `name` the defaults of new fields, upgrades them, then calls its
 * __pyhot_after__(old).  One that raises does not stop the others: *error gets failure_take's dict
 * of the first, or stays NULL. 0, or -1 with an exception of ours. */
int hooks_run(struct hooks *, PyObject *name, PyObject **error);

#endif

/* Which old object is which new one: definitions by qualified name, data by the rules of
 * DESIGN.md 4.2.  Fills a plan; changes nothing that the running program can see.
 *
 * GIL held.  Runs no code of the target except what comparing two str needs. */
#ifndef PYHOT_PAIR_H
#define PYHOT_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"

/* One module of the transaction.  All references are borrowed from the caller and
 * live until pair_modules returns; NULL where said. */
struct module_pair {
    PyObject *name;     /* str, the name in sys.modules */
    PyObject *module;   /* the live module; its dict is D */
    PyObject *shadow;   /* the module object executed aside; its dict is D' */
    PyObject *old_dict; /* D */
    PyObject *new_dict; /* D' */
    PyObject *old_code; /* module code of the source that is loaded; NULL: not known */
    PyObject *new_code; /* module code of the source on disk, as executed */
    PyObject *before;   /* dict: what D' held before the execution (a copy of D) */

    /* A module that the new source imported first, with what moved there: it is live already (D
     * and D' are its dict, `before` is empty), and what is replaced counts for this one.  Or NULL.
     */
    struct module_pair *moved_from;

    /* Results: new references to lists of str, made by pair_modules. */
    PyObject *added, *removed, *kept, *taken;
    size_t functions, classes, methods, code; /* replaced */
    PyObject *details; /* with verbose: list of {"name","kind","change",...} */
};

struct pair_options {
    uint32_t data_policy; /* enum pyhot_data_policy */
    PyObject *new_names;  /* list of str: --new */
    PyObject *keep_names; /* list of str: --keep */
    bool verbose;
};

/* Pairs all modules of one transaction, so that a definition may have moved from one
 * to another.  Adds to the plan: keys old -> new, D' -> D, shadow -> module, kept data
 * new -> old, and the entries of D to be set or deleted.  0, or -1 with an exception. */
int pair_modules(struct plan *, struct module_pair *modules, size_t n, const struct pair_options *);

/* With verbose, after plan_resolve: puts "references", "by_kind" and "residual" of
 * remap_report_key into the details of what is replaced.  0, or -1 with an exception. */
int pair_count_references(struct remap *, struct module_pair *);

/* Releases what pair_modules stored in `m`. */
void module_pair_clear(struct module_pair *m);

#endif

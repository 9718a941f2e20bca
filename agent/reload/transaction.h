/* Inside the reload: what its parts share.
 *
 *   reload.c         the sequence of steps
 *   change.c         pairing, resolving, committing
 *   report.c  the report */
#ifndef PYHOT_TRANSACTION_H
#define PYHOT_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>

#include "contents.h"
#include "cpython/introspect.h"
#include "execute.h"
#include "hooks.h"
#include "pair/pair.h"
#include "reload.h"
#include "source/source.h"
#include "threads.h"

enum result { RESULT_PENDING, RESULT_UNCHANGED, RESULT_RELOADED, RESULT_FAILED };

/* One module that was asked for. */
struct member {
    PyObject *name, *module;
    struct source source;
    PyObject *new_code, *old_code; /* old_code NULL: not known */
    enum result result;
    PyObject *error;          /* failure_take's dict, or NULL */
    struct module_pair *pair; /* set while the transaction pairs */
    PyObject *unregistered;   /* dict (unregistered.h), or NULL */
};

struct reload {
    const struct reload_options *options;
    struct member *members;
    size_t n;
    struct execution execution;
    struct pointer_set buffers; /* of ctypes, that the modules' names have or had; borrowed */
    struct contents *contents;  /* what containers held before it */
    PyObject *contents_kept;    /* list: owns what that refers to */
    PyObject *moved_to;         /* moved_to's list */
    struct module_pair *pairs;  /* one for each executed module, and for each in moved_to */
    size_t n_pairs;
    PyObject **dicts; /* that the new code was executed in, by pair; borrowed */
    struct plan *plan;
    struct hooks *hooks;
    PyObject *doubled_exits; /* exit_functions_doubled's list */
    PyObject *remap;         /* remap_report's dict */
    PyObject *foreseen;      /* what is told if after the commit there is no memory for a report */
    PyObject *generations;   /* left by others' reloads: stale_generations */
    PyObject *left;          /* what a failed execution left behind: list of str */
    PyObject *lent;          /* values_before's list, kept for ever; or NULL */
    bool committed;
    struct threads_before threads;
    double gil_ms;
    int exit_status;
};

/* How a step of the transaction ends. */
enum step {
    STEP_ERROR = -1, /* job_fail was called or an exception is set: no report */
    STEP_NEXT,
    STEP_END, /* nothing more to do: report */
};

/* The member of this name; there is one. */
struct member *member_named(struct reload *, PyObject *name);

/* job_fail: the injector gave up.  STEP_ERROR. */
enum step cancelled(void);

/* The change is made, so running out of memory afterwards costs only what is told of it:
 * clears the exception. */
void lose_details(struct reload *);

/* Pairs, resolves and commits what was executed.  The GIL is held throughout, and the collector
 * rests.  STEP_END after a dry run. */
enum step change(struct reload *);

/* New reference to the dict that reload_modules gives. */
PyObject *reload_report(const struct reload *);

#endif

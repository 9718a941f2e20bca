/* From what was executed aside to the program that runs it (transaction.h). */
#include <stdlib.h>
#include <time.h>

#include "agent.h"
#include "c_memory.h"
#include "cpython/bytecode.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "emit.h"
#include "exit_functions.h"
#include "graveyard.h"
#include "rebased.h"
#include "remap/remap.h"
#include "request.h"
#include "transaction.h"
#include "unregistered.h"

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What is ours refers to old and new objects on purpose. */
static int exclude_ours(struct reload *reload)
{
    struct remap *remap = plan_remap(reload->plan);
    int status = remap_exclude(remap, reload->contents_kept);

    for (size_t i = 0; status == 0 && i < reload->execution.n; i++) {
        struct aside *aside = &reload->execution.modules[i];

        status = remap_exclude(remap, aside->holder);
        if (status == 0)
            status = remap_exclude(remap, aside->before);
        if (status == 0)
            status = remap_exclude(remap, aside->shadow);
    }
    return status;
}

/* What references to `object` will refer to after the commit; borrowed. */
static PyObject * final(struct plan *plan, PyObject *object)
{
    PyObject *new_ = remap_get(plan_remap(plan), object);

    return new_ ? new_ : object;
}

/* What executed code set on a package's shadow (`pkg.setting = 1`) it meant for the package. */
static int keep_package_writes(struct plan *plan, struct aside *package)
{
    PyObject *live = PyModule_GetDict(package->module), *key, *value;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(package->dict, &position, &key, &value)) {
        if (PyDict_GetItemWithError(package->before, key) != value &&
            PyDict_GetItemWithError(live, key) != value)
            status = plan_set(plan, live, key, final(plan, value));
    }
    position = 0;
    while (status == 0 && PyDict_Next(package->before, &position, &key, &value)) {
        if (PyDict_Contains(package->dict, key) == 0)
            status = plan_delete(plan, live, key);
    }
    return status < 0 || PyErr_Occurred() ? -1 : 0;
}

static int plan_packages(struct reload *reload)
{
    struct execution *e = &reload->execution;

    for (size_t i = e->n_executed; i < e->n; i++) {
        struct aside *package = &e->modules[i];

        if (remap_add(plan_remap(reload->plan), package->shadow, package->module) < 0 ||
            keep_package_writes(reload->plan, package) < 0)
            return -1;
    }
    return 0;
}

static int pair(struct reload *reload)
{
    struct execution *e = &reload->execution;
    struct pair_options options = {
        .data_policy = reload->options->data_policy,
        .new_names = reload->options->new_names,
        .keep_names = reload->options->keep_names,
        .verbose = reload->options->flags & PYHOT_VERBOSE,
    };
    size_t n = e->n_executed + (size_t)PyList_Size(reload->moved_to);

    reload->pairs = calloc(n, sizeof *reload->pairs);
    reload->dicts = calloc(e->n_executed, sizeof *reload->dicts);
    if (!reload->pairs || !reload->dicts) {
        PyErr_NoMemory();
        return -1;
    }
    reload->n_pairs = n;
    for (size_t i = 0; i < e->n_executed; i++) {
        struct aside *aside = &e->modules[i];
        struct member *member = member_named(reload, aside->name);

        member->pair = &reload->pairs[i];
        reload->dicts[i] = aside->dict;
        reload->pairs[i] = (struct module_pair){
            .name = aside->name,
            .module = aside->module,
            .shadow = aside->shadow,
            .old_dict = PyModule_GetDict(aside->module),
            .new_dict = aside->dict,
            .old_code = member->old_code,
            .new_code = member->new_code,
            .before = aside->before,
        };
    }
    for (size_t i = e->n_executed; i < n; i++) {
        PyObject *entry = PyList_GetItem(reload->moved_to, (Py_ssize_t)(i - e->n_executed));
        PyObject *module = PyTuple_GetItem(entry, 1);

        reload->pairs[i] = (struct module_pair){
            .name = PyTuple_GetItem(entry, 0),
            .module = module,
            .old_dict = PyModule_GetDict(module),
            .new_dict = PyModule_GetDict(module),
            .new_code = PyTuple_GetItem(entry, 2),
            .before = PyTuple_GetItem(entry, 3),
            .moved_from = member_named(reload, PyTuple_GetItem(entry, 4))->pair,
        };
    }
    return pair_modules(reload->plan, reload->pairs, n, &options);
}

static int look_at_dropped(struct reload *reload)
{
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        if (member->pair)
            member->unregistered = unregistered(member->pair, reload->contents);
        if (member->pair && !member->unregistered)
            return -1;
    }
    return 0;
}

/* What other reloads left of the modules in other places becomes the newest, too. */
static int sweep_generations(struct reload *reload)
{
    struct remap *remap = plan_remap(reload->plan);
    PyObject *list = reload->generations;
    int status = remap_exclude(remap, list);

    for (Py_ssize_t i = 0; status == 0 && i + 2 < PyList_Size(list); i += 3) {
        PyObject *old = PyList_GetItem(list, i), *current = PyList_GetItem(list, i + 1);

        if (member_named(reload, PyList_GetItem(list, i + 2))->pair && !remap_get(remap, old))
            status = remap_add(remap, old, final(reload->plan, current));
    }
    return status;
}

/* The dicts of the execution are seen by nobody, so they are rewritten here: what the engine
 * counts are references of the program. */
static int settle_dicts(struct reload *reload)
{
    for (size_t i = 0; i < reload->execution.n_executed; i++) {
        PyObject *dict = reload->execution.modules[i].dict, *key, *value;
        Py_ssize_t position = 0;

        while (PyDict_Next(dict, &position, &key, &value)) {
            PyObject *new_ = final(reload->plan, value);

            if (new_ != value && PyDict_SetItem(dict, key, new_) < 0)
                return -1;
        }
    }
    return 0;
}

static int prepare_plan(struct reload *reload)
{
    if (exclude_ours(reload) < 0 || pair(reload) < 0 || look_at_dropped(reload) < 0 ||
        sweep_generations(reload) < 0 || plan_packages(reload) < 0 || settle_dicts(reload) < 0 ||
        rebased_settle(reload->contents, plan_remap(reload->plan)) < 0)
        return -1;
    reload->hooks = hooks_new(&reload->execution, plan_remap(reload->plan));
    if (reload->hooks)
        reload->doubled_exits = exit_functions_doubled(plan_remap(reload->plan));
    if (!reload->doubled_exits || plan_resolve(reload->plan) < 0)
        return -1;
    for (size_t i = 0; i < reload->n_pairs; i++) {
        if (pair_count_references(plan_remap(reload->plan), &reload->pairs[i]) < 0)
            return -1;
    }
    if (memory_was_short()) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void mark(struct reload *reload, enum result from, enum result to)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (reload->members[i].result == from)
            reload->members[i].result = to;
    }
}

/* The report as it will be; its exit status is that of lost details, as it is told only then. */
static int foresee(struct reload *reload)
{
    int exit_status = reload->exit_status;

    reload->remap = remap_report(plan_remap(reload->plan));
    if (!reload->remap)
        return -1;
    mark(reload, RESULT_PENDING, RESULT_RELOADED);
    reload->exit_status = 5;
    reload->foreseen = reload_report(reload);
    reload->exit_status = exit_status;
    mark(reload, RESULT_RELOADED, RESULT_PENDING);
    Py_DecRef(reload->remap);
    reload->remap = NULL;
    return reload->foreseen ? 0 : -1;
}

/* The modules' values as they were, in a list: who lends the GIL may have borrowed one of them. New
 * reference; NULL with an exception. */
static PyObject *values_before(const struct reload *reload)
{
    PyObject *all = PyList_New(0);

    for (size_t i = 0; all && i < reload->n; i++) {
        PyObject *copy = PyDict_Copy(PyModule_GetDict(reload->members[i].module));

        if (!copy || PyList_Append(all, copy) < 0 ||
            remap_exclude(plan_remap(reload->plan), copy) < 0) {
            Py_DecRef(all);
            all = NULL;
        }
        Py_DecRef(copy);
    }
    return all;
}

/* C code that holds the GIL may rely on what it did not count: an object that is in a tuple stays
 * alive with that.  So nothing that is replaced now may die. */
static int keep_for_lender(struct reload *reload)
{
    if (!(reload->options->flags & PYHOT_LENT))
        return 0;
    reload->lent = values_before(reload);
    remap_keep_replaced(plan_remap(reload->plan));
    return reload->lent ? 0 : -1;
}

static enum step commit(struct reload *reload)
{
    if (reload->options->flags & PYHOT_DRY_RUN)
        return STEP_END;
    if (hooks_find_instances(reload->hooks) < 0 || foresee(reload) < 0)
        return STEP_ERROR;
    if (!job_begin_commit())
        return cancelled();
    if (plan_commit(reload->plan) < 0)
        return STEP_ERROR;
    reload->committed = true;
    /* Generators and threads that the execution began may run in its dicts. */
    graveyard_keep_globals(plan_verified(reload->plan) ? plan_remap(reload->plan) : NULL,
                           reload->dicts, reload->execution.n_executed);
    exit_functions_remove(reload->doubled_exits);
    if (!plan_verified(reload->plan) ||
        hooks_hold_instances(reload->hooks, plan_remap(reload->plan)) < 0)
        lose_details(reload);
    return STEP_NEXT;
}

enum step change(struct reload *reload)
{
    bool collecting;
    uint64_t start;
    enum step step = STEP_ERROR;

    emit_progress("remap", 0, 0);
    if (bytecode_prepare() < 0)
        return STEP_ERROR;
    reload->plan = plan_new();
    if (!reload->plan || collector_pause(&collecting) < 0)
        return STEP_ERROR;
    start = now_ns();
    if (keep_for_lender(reload) == 0 && c_memory_keep_callbacks() == 0 && prepare_plan(reload) == 0)
        step = commit(reload);
    if (step != STEP_ERROR)
        reload->remap = remap_report(plan_remap(reload->plan));
    collector_resume(collecting);
    reload->gil_ms = (double)(now_ns() - start) / 1e6;
    if (step == STEP_ERROR || (!reload->remap && !reload->committed))
        return STEP_ERROR;
    mark(reload, RESULT_PENDING, RESULT_RELOADED);
    if (!reload->remap)
        lose_details(reload);
    return step;
}

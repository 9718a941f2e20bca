/* The transaction: read, compile, execute aside, pair, remap; or nothing (DESIGN.md 4.1). */
#include "reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "cpython/collector.h"
#include "emit.h"
#include "execute.h"
#include "failure.h"
#include "graveyard.h"
#include "hooks.h"
#include "leftover.h"
#include "linecache.h"
#include "loaded.h"
#include "main_thread.h"
#include "nearest.h"
#include "pair.h"
#include "request.h"
#include "source.h"
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
};

struct reload {
    const struct reload_options *options;
    struct member *members;
    size_t n;
    struct execution execution;
    struct module_pair *pairs; /* one for each executed module */
    size_t n_pairs;
    struct plan *plan;
    struct hooks *hooks;
    PyObject *remap; /* remap_report's dict */
    PyObject *left;  /* what a failed execution left behind: list of str */
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

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static const char *utf8(PyObject *text)
{
    const char *string = PyUnicode_AsUTF8(text);

    if (!string)
        PyErr_Clear();
    return string ? string : "?";
}

static enum step cancelled(void)
{
    job_fail("cancelled", 4, NULL, "pyhot gave up on process %d: nothing was changed",
             (int)getpid());
    return STEP_ERROR;
}

/* --- the modules */

static enum step not_loaded(PyObject *name)
{
    char near[256], hint[320] = "";

    nearest_modules(name, near, sizeof near);
    if (*near)
        snprintf(hint, sizeof hint, "loaded are: %s", near);
    job_fail("not-loaded", 3, *hint ? hint : NULL, "module %s is not loaded in process %d",
             utf8(name), (int)getpid());
    return STEP_ERROR;
}

static enum step find_module(struct member *member, PyObject *name)
{
    PyObject *module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);

    if (!module || module == Py_None)
        return PyErr_Occurred() ? STEP_ERROR : not_loaded(name);
    if (!PyType_IsSubtype(type_of(module), &PyModule_Type)) {
        job_fail("not-a-module", 3, NULL, "sys.modules['%s'] of process %d is a %s, not a module",
                 utf8(name), (int)getpid(), type_of(module)->tp_name);
        return STEP_ERROR;
    }
    member->name = name;
    member->module = module;
    Py_IncRef(name);
    Py_IncRef(module);
    return STEP_NEXT;
}

static bool is_named_already(const struct reload *reload, PyObject *name)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (PyUnicode_Compare(reload->members[i].name, name) == 0)
            return true;
    }
    return false;
}

static enum step find_modules(struct reload *reload, PyObject *names)
{
    Py_ssize_t n = PyList_Size(names);

    reload->members = calloc((size_t)n + 1, sizeof *reload->members);
    if (!reload->members) {
        PyErr_NoMemory();
        return STEP_ERROR;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyList_GetItem(names, i);
        enum step step;

        if (is_named_already(reload, name))
            continue;
        step = find_module(&reload->members[reload->n], name);
        if (step != STEP_NEXT)
            return step;
        reload->n++;
    }
    return STEP_NEXT;
}

static enum step read_source(struct member *member)
{
    if (source_read(&member->source, member->name, member->module) < 0)
        return STEP_ERROR;
    switch (member->source.state) {
    case SOURCE_READ:
        return STEP_NEXT;
    case SOURCE_NONE:
        job_fail("no-source", 3, "only modules loaded from Python source can be reloaded",
                 "module %s of process %d %s", utf8(member->name), (int)getpid(),
                 member->source.why);
        return STEP_ERROR;
    case SOURCE_UNREADABLE:
        job_fail("unreadable", 3, "put the file back, or attach again once it is written",
                 "module %s of process %d %s", utf8(member->name), (int)getpid(),
                 member->source.why);
        return STEP_ERROR;
    }
    return STEP_ERROR;
}

/* The new source's own exception (failure_take's dict, or NULL with an exception of ours; the
 * reference is taken): the end of the transaction, with nothing changed. */
static enum step fail_with(struct reload *reload, struct member *member, PyObject *error)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (reload->members[i].result == RESULT_PENDING)
            reload->members[i].result = RESULT_UNCHANGED;
    }
    member->error = error;
    member->result = RESULT_FAILED;
    reload->exit_status = 1;
    return error ? STEP_END : STEP_ERROR;
}

static enum step fail(struct reload *reload, struct member *member)
{
    return fail_with(reload, member, failure_take());
}

static enum step compile_source(struct reload *reload, struct member *member)
{
    bool force = reload->options->flags & PYHOT_FORCE;
    int same = 0;

    member->new_code = source_compile(&member->source);
    if (!member->new_code)
        return fail(reload, member);
    member->old_code = loaded_code(member->module, &member->source, member->new_code);
    if (!member->old_code)
        return PyErr_Occurred() ? STEP_ERROR : STEP_NEXT;
    if (!force)
        same = code_same(member->old_code, member->new_code);
    if (same < 0)
        return STEP_ERROR;
    if (same)
        member->result = RESULT_UNCHANGED;
    return STEP_NEXT;
}

static enum step read_and_compile(struct reload *reload)
{
    enum step step = STEP_NEXT;

    for (size_t i = 0; step == STEP_NEXT && i < reload->n; i++)
        step = read_source(&reload->members[i]);
    for (size_t i = 0; step == STEP_NEXT && i < reload->n; i++)
        step = compile_source(reload, &reload->members[i]);
    return step;
}

/* --- execution */

static struct member *member_named(struct reload *reload, PyObject *name)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (PyUnicode_Compare(reload->members[i].name, name) == 0)
            return &reload->members[i];
    }
    return NULL;
}

static enum step begin_execution(struct reload *reload)
{
    PyObject **lists = calloc(3 * (reload->n + 1), sizeof *lists);
    PyObject **names = lists, **modules = lists + reload->n, **codes = lists + 2 * reload->n;
    size_t n = 0;
    int status;

    if (!lists) {
        PyErr_NoMemory();
        return STEP_ERROR;
    }
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        if (member->result != RESULT_PENDING)
            continue;
        names[n] = member->name;
        modules[n] = member->module;
        codes[n++] = member->new_code;
    }
    status = n ? execution_begin(&reload->execution, n, names, modules, codes) : 0;
    free(lists);
    if (status < 0)
        return STEP_ERROR;
    return n ? STEP_NEXT : STEP_END;
}

static enum step ask_old_modules(struct reload *reload)
{
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        if (member->result == RESULT_PENDING && hook_before(member->module) < 0)
            return fail(reload, member);
    }
    return STEP_NEXT;
}

static struct member *failed_member(struct reload *reload)
{
    const struct execution *e = &reload->execution;

    return member_named(reload, e->modules[e->failed].name);
}

/* Takes back what the failed execution left outside its dicts. */
static enum step withdraw(struct reload *reload)
{
    struct execution *e = &reload->execution;
    enum step step;

    if (e->failed < 0)
        return STEP_ERROR;
    step = fail(reload, failed_member(reload));
    execution_forget_imports(e);
    reload->left = leftover_take_back(e);
    return reload->left ? step : STEP_ERROR;
}

/* The first try's error, with why there was no second. */
static enum step main_thread_blocked(struct reload *reload, struct member *culprit,
                                     PyObject *error)
{
    PyObject *message = PyDict_GetItemString(error, "message");
    PyObject *text = PyUnicode_FromFormat(
        "%S; and the main thread is blocked: it ran no Python code in which it could be run",
        message ? message : Py_None);

    if (!text || PyDict_SetItemString(error, "message", text) < 0) {
        Py_DecRef(text);
        return STEP_ERROR;
    }
    Py_DecRef(text);
    Py_IncRef(error);
    return fail_with(reload, culprit, error);
}

static int run_execution(void *execution)
{
    return execution_run(execution);
}

/* Module code that refused to run in this thread runs in the main one, from its beginning; what
 * the first try left outside is taken back before. */
static enum step execute_in_main_thread(struct reload *reload)
{
    struct member *culprit = failed_member(reload);
    PyObject *error = failure_take();
    PyObject *left;
    bool begun = false;
    enum step step;

    execution_forget_imports(&reload->execution);
    left = leftover_take_back(&reload->execution);
    Py_DecRef(left);
    step = error && left ? begin_execution(reload) : STEP_ERROR;
    if (step == STEP_NEXT &&
        main_thread_call(run_execution, &reload->execution, &begun) < 0) {
        if (begun)
            step = withdraw(reload);
        else
            step = PyErr_Occurred() ? STEP_ERROR : main_thread_blocked(reload, culprit, error);
    }
    Py_DecRef(error);
    return step;
}

static enum step execute(struct reload *reload)
{
    enum step step = STEP_NEXT;

    emit_progress("execute", 0, reload->execution.n_executed);
    if (execution_run(&reload->execution) < 0)
        step = reload->execution.failed >= 0 && main_thread_wanted()
                   ? execute_in_main_thread(reload)
                   : withdraw(reload);
    return step != STEP_ERROR && job_cancelled() ? cancelled() : step;
}

/* --- pairing and the change itself */

/* What is ours refers to old and new objects on purpose. */
static int exclude_ours(struct reload *reload)
{
    struct remap *remap = plan_remap(reload->plan);
    int status = 0;

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
static PyObject *final(struct plan *plan, PyObject *object)
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

    reload->pairs = calloc(e->n_executed, sizeof *reload->pairs);
    if (!reload->pairs) {
        PyErr_NoMemory();
        return -1;
    }
    reload->n_pairs = e->n_executed;
    for (size_t i = 0; i < e->n_executed; i++) {
        struct aside *aside = &e->modules[i];
        struct member *member = member_named(reload, aside->name);

        member->pair = &reload->pairs[i];
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
    return pair_modules(reload->plan, reload->pairs, reload->n_pairs, &options);
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
    if (exclude_ours(reload) < 0 || pair(reload) < 0 || plan_packages(reload) < 0 ||
        settle_dicts(reload) < 0)
        return -1;
    reload->hooks = hooks_new(&reload->execution, plan_remap(reload->plan));
    return reload->hooks ? plan_resolve(reload->plan) : -1;
}

/* The change is made, so running out of memory afterwards costs only what is told of it. */
static void lose_details(struct reload *reload)
{
    PyErr_Clear();
    reload->exit_status = 5;
}

/* Generators and threads that the execution began may run in its dicts. */
static int keep_globals(const struct execution *e)
{
    PyObject **dicts = calloc(e->n_executed, sizeof *dicts);
    int status;

    if (!dicts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < e->n_executed; i++)
        dicts[i] = e->modules[i].dict;
    status = graveyard_keep_globals(dicts, e->n_executed);
    free(dicts);
    return status;
}

static enum step commit(struct reload *reload)
{
    if (reload->options->flags & PYHOT_DRY_RUN)
        return STEP_END;
    if (hooks_find_instances(reload->hooks) < 0)
        return STEP_ERROR;
    if (!job_begin_commit())
        return cancelled();
    if (plan_commit(reload->plan) < 0)
        return STEP_ERROR;
    reload->committed = true;
    if (!plan_verified(reload->plan) ||
        hooks_hold_instances(reload->hooks, plan_remap(reload->plan)) < 0 ||
        keep_globals(&reload->execution) < 0)
        lose_details(reload);
    return STEP_NEXT;
}

static void mark_reloaded(struct reload *reload)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (reload->members[i].result == RESULT_PENDING)
            reload->members[i].result = RESULT_RELOADED;
    }
}

/* The GIL is held, and the collector rests, from the pairing to the end of the count. */
static enum step change(struct reload *reload)
{
    bool collecting;
    double start = now_ms();
    enum step step = STEP_ERROR;

    emit_progress("remap", 0, 0);
    reload->plan = plan_new();
    if (!reload->plan || collector_pause(&collecting) < 0)
        return STEP_ERROR;
    if (prepare_plan(reload) == 0)
        step = commit(reload);
    if (step != STEP_ERROR)
        reload->remap = remap_report(plan_remap(reload->plan));
    collector_resume(collecting);
    reload->gil_ms = now_ms() - start;
    if (step == STEP_ERROR || (!reload->remap && !reload->committed))
        return STEP_ERROR;
    mark_reloaded(reload);
    if (!reload->remap)
        lose_details(reload);
    return step;
}

/* --- afterwards */

static long report_count(PyObject *remap, const char *field)
{
    PyObject *value = PyDict_GetItemString(remap, field);

    return value && is_int(value) ? PyLong_AsLong(value) : 0;
}

static enum step finish(struct reload *reload)
{
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        if (member->result != RESULT_RELOADED)
            continue;
        linecache_forget(member->source.file);
        if (loaded_remember(member->name, member->new_code) < 0)
            lose_details(reload);
    }
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        if (member->result != RESULT_RELOADED)
            continue;
        if (hooks_run(reload->hooks, member->name, &member->error) < 0)
            lose_details(reload);
        if (member->error)
            reload->exit_status = 5;
    }
    if (reload->remap && (report_count(reload->remap, "unresolved") ||
                          report_count(reload->remap, "unaccounted")))
        reload->exit_status = 5;
    return STEP_END;
}

static enum step transact(struct reload *reload, PyObject *names)
{
    enum step step = find_modules(reload, names);

    if (step == STEP_NEXT)
        step = read_and_compile(reload);
    if (step == STEP_NEXT)
        step = begin_execution(reload);
    if (step == STEP_NEXT)
        step = ask_old_modules(reload);
    if (step == STEP_NEXT)
        step = execute(reload);
    if (step == STEP_NEXT)
        step = change(reload);
    if (step == STEP_NEXT)
        step = finish(reload);
    return step;
}

/* --- the report */

/* Takes the reference to `value`; NULL (an exception, or no memory) is passed on as -1. */
static int put(PyObject *dict, const char *key, PyObject *value)
{
    int status = value ? PyDict_SetItemString(dict, key, value) : -1;

    Py_DecRef(value);
    return status;
}

static PyObject *list_or_empty(PyObject *list)
{
    if (!list)
        return PyList_New(0);
    Py_IncRef(list);
    return list;
}

static PyObject *object_or_none(PyObject *object)
{
    if (!object)
        object = Py_None;
    Py_IncRef(object);
    return object;
}

static PyObject *replaced(const struct module_pair *pair)
{
    return Py_BuildValue("{snsnsnsn}", "functions", (Py_ssize_t)pair->functions, "classes",
                         (Py_ssize_t)pair->classes, "methods", (Py_ssize_t)pair->methods, "code",
                         (Py_ssize_t)pair->code);
}

static PyObject *report_member(const struct member *member)
{
    static const char *const words[] = {"unchanged", "unchanged", "reloaded", "failed"};
    static const struct module_pair nothing;
    const struct module_pair *pair = member->pair ? member->pair : &nothing;
    PyObject *report = PyDict_New();

    if (!report)
        return NULL;
    Py_IncRef(member->name);
    if (put(report, "name", member->name) < 0 ||
        put(report, "file", object_or_none(member->source.file)) < 0 ||
        put(report, "result", PyUnicode_FromString(words[member->result])) < 0 ||
        put(report, "replaced", replaced(pair)) < 0 ||
        put(report, "added", list_or_empty(pair->added)) < 0 ||
        put(report, "removed", list_or_empty(pair->removed)) < 0 ||
        put(report, "kept", list_or_empty(pair->kept)) < 0 ||
        put(report, "taken", list_or_empty(pair->taken)) < 0 ||
        put(report, "error", object_or_none(member->error)) < 0 ||
        (pair->details && put(report, "details", list_or_empty(pair->details)) < 0)) {
        Py_DecRef(report);
        return NULL;
    }
    return report;
}

static PyObject *report_members(const struct reload *reload)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list && i < reload->n; i++) {
        PyObject *member = report_member(&reload->members[i]);

        if (!member || PyList_Append(list, member) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(member);
    }
    return list;
}

/* Moves scan_ms and commit_ms out of remap_report's dict. */
static PyObject *report_time(const struct reload *reload)
{
    PyObject *time = reload->remap ? PyDict_GetItemString(reload->remap, "time") : NULL;

    Py_IncRef(time);
    if (time)
        PyDict_DelItemString(reload->remap, "time");
    else
        time = Py_BuildValue("{sdsd}", "scan_ms", 0.0, "commit_ms", 0.0);
    if (time && put(time, "gil_ms", PyFloat_FromDouble(reload->gil_ms)) < 0) {
        Py_DecRef(time);
        return NULL;
    }
    return time;
}

static PyObject *version(void)
{
    const char *text = Py_GetVersion();

    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)strcspn(text, " "));
}

static PyObject *report(struct reload *reload)
{
    PyObject *dict = PyDict_New();

    if (!dict)
        return NULL;
    if (put(dict, "python", version()) < 0 || put(dict, "modules", report_members(reload)) < 0 ||
        put(dict, "time", report_time(reload)) < 0 ||
        put(dict, "remap", object_or_none(reload->remap)) < 0 ||
        (reload->left && put(dict, "left", list_or_empty(reload->left)) < 0) ||
        (reload->options->flags & PYHOT_DRY_RUN &&
         put(dict, "dry_run", PyBool_FromLong(1)) < 0) ||
        put(dict, "exit", PyLong_FromLong(reload->exit_status)) < 0) {
        Py_DecRef(dict);
        return NULL;
    }
    return dict;
}

/* Of a dry run, or a job that was given up, nothing stays either. */
static void forget_execution(struct execution *e)
{
    PyObject *left;

    if (e->n == 0 || !e->known)
        return;
    execution_forget_imports(e);
    left = leftover_take_back(e);
    PyErr_Clear();
    Py_DecRef(left);
}

static void clear(struct reload *reload)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    hooks_free(reload->hooks);
    plan_free(reload->plan);
    if (!reload->committed)
        forget_execution(&reload->execution);
    execution_end(&reload->execution);
    for (size_t i = 0; i < reload->n_pairs; i++)
        module_pair_clear(&reload->pairs[i]);
    free(reload->pairs);
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        Py_DecRef(member->name);
        Py_DecRef(member->module);
        Py_DecRef(member->new_code);
        Py_DecRef(member->old_code);
        Py_DecRef(member->error);
        source_clear(&member->source);
    }
    free(reload->members);
    Py_DecRef(reload->remap);
    Py_DecRef(reload->left);
    threads_tidy(&reload->threads);
    PyErr_Restore(type, value, traceback);
}

PyObject *reload_modules(PyObject *names, const struct reload_options *options)
{
    struct reload reload = {.options = options, .threads = threads_look()};
    PyObject *result = NULL;

    if (transact(&reload, names) == STEP_END)
        result = report(&reload);
    clear(&reload);
    return result;
}

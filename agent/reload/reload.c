/* The transaction: read, compile, execute aside, pair, remap; or nothing (DESIGN.md 4.1). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "c_memory.h"
#include "cpython/interpreters.h"
#include "cpython/introspect.h"
#include "emit.h"
#include "failure.h"
#include "leftover.h"
#include "linecache.h"
#include "main_thread.h"
#include "moved_to.h"
#include "nearest.h"
#include "request.h"
#include "source/loaded.h"
#include "stale/objects.h"
#include "transaction.h"

static const char *utf8(PyObject *text)
{
    const char *string = PyUnicode_AsUTF8(text);

    if (!string)
        PyErr_Clear();
    return string ? string : "?";
}

enum step cancelled(void)
{
    job_fail("cancelled", 4, NULL, "pyhot gave up on process %d: nothing was changed",
             (int)getpid());
    return STEP_ERROR;
}

void lose_details(struct reload *reload)
{
    PyErr_Clear();
    reload->exit_status = 5;
}

struct member *member_named(struct reload *reload, PyObject *name)
{
    for (size_t i = 0; i < reload->n; i++) {
        if (PyUnicode_Compare(reload->members[i].name, name) == 0)
            return &reload->members[i];
    }
    return NULL;
}

/* --- the modules */

static enum step not_loaded(PyObject *name)
{
    char near[256], hint[320] = "";
    int64_t other = interpreter_with_module(name);

    if (other >= 0) {
        job_fail("other-interpreter", 3, "pyhot serves the main interpreter only",
                 "module %s of process %d is loaded in its interpreter %" PRId64
                 ", not in the main one",
                 utf8(name), (int)getpid(), other);
        return STEP_ERROR;
    }
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
    if (!is_module(module)) {
        job_fail("not-a-module", 3, NULL, "sys.modules['%s'] of process %d was never initialised",
                 utf8(name), (int)getpid());
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
        job_fail("unreadable", 3,
                 member->source.became_other
                     ? "a module that became a package, or a package that became a module, needs a "
                       "restart"
                     : "put the file back, or attach again once it is written",
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

/* Before the execution: to its functions the ones of now would look old. */
static enum step find_generations(struct reload *reload)
{
    PyObject *names = PyList_New(0);
    int status = names ? 0 : -1;

    for (size_t i = 0; status == 0 && i < reload->n; i++)
        status = PyList_Append(names, reload->members[i].name);
    if (status == 0)
        reload->generations = stale_generations(names);
    Py_DecRef(names);
    return reload->generations ? STEP_NEXT : STEP_ERROR;
}

static bool has_generations(const struct reload *reload, PyObject *module)
{
    for (Py_ssize_t i = 2; i < PyList_Size(reload->generations); i += 3) {
        if (PyUnicode_Compare(PyList_GetItem(reload->generations, i), module) == 0)
            return true;
    }
    return false;
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
    if (same && !has_generations(reload, member->name))
        member->result = RESULT_UNCHANGED;
    return STEP_NEXT;
}

static enum step read_and_compile(struct reload *reload)
{
    enum step step = STEP_NEXT;

    for (size_t i = 0; step == STEP_NEXT && i < reload->n; i++)
        step = read_source(&reload->members[i]);
    if (step == STEP_NEXT)
        step = find_generations(reload);
    for (size_t i = 0; step == STEP_NEXT && i < reload->n; i++)
        step = compile_source(reload, &reload->members[i]);
    if (step == STEP_NEXT && memory_was_short()) {
        PyErr_NoMemory();
        step = STEP_ERROR;
    }
    return step;
}

/* --- execution */

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

/* What the execution put into live objects stays there: reload->left, or, without memory, it is
 * not known what. */
static enum step left_behind(const struct reload *reload)
{
    Py_ssize_t n = reload->left ? PyList_Size(reload->left) : 0;

    PyErr_Clear();
    if (n)
        job_fail("left-behind", 5, "pyhot attach again: what it left becomes the new one's",
                 "the reload in process %d was not done, but of what the new source put into other "
                 "objects there is left: %s%s",
                 (int)getpid(), utf8(PyList_GetItem(reload->left, 0)), n > 1 ? " and others" : "");
    else
        job_fail("left-behind", 5, "pyhot attach again when the process has memory",
                 "the reload in process %d was not done, but its memory was too short to take back "
                 "what the new source put into other objects",
                 (int)getpid());
    return STEP_ERROR;
}

/* Takes back what the failed execution left outside its dicts. */
static enum step withdraw(struct reload *reload)
{
    struct execution *e = &reload->execution;
    PyObject *error[3];
    enum step step;

    if (e->failed < 0)
        return STEP_ERROR;
    step = fail(reload, failed_member(reload));
    PyErr_Fetch(&error[0], &error[1], &error[2]); /* if memory was short */
    execution_forget_imports(e);
    reload->left = leftover_take_back(e, reload->contents);
    if (reload->left) {
        PyErr_Restore(error[0], error[1], error[2]);
        return step;
    }
    for (int i = 0; i < 3; i++)
        Py_DecRef(error[i]);
    return left_behind(reload);
}

/* The first try's error, with why there was no second. */
static enum step main_thread_blocked(struct reload *reload, struct member *culprit, PyObject *error)
{
    PyObject *message = dict_get(error, "message");
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
    left = leftover_take_back(&reload->execution, reload->contents);
    Py_DecRef(left);
    step = !left ? left_behind(reload) : error ? begin_execution(reload) : STEP_ERROR;
    if (step == STEP_NEXT && main_thread_call(run_execution, &reload->execution, &begun) < 0) {
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
    reload->contents_kept = PyList_New(0);
    if (reload->contents_kept)
        reload->contents = contents_look(&reload->execution, reload->contents_kept);
    if (!reload->contents)
        return STEP_ERROR;
    if (execution_run(&reload->execution) < 0)
        step = reload->execution.failed >= 0 && main_thread_wanted()
                   ? execute_in_main_thread(reload)
                   : withdraw(reload);
    return step != STEP_ERROR && job_cancelled() ? cancelled() : step;
}

/* --- afterwards */

static long report_count(PyObject *remap, const char *field)
{
    PyObject *value = dict_get(remap, field);

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
    if (reload->remap &&
        (report_count(reload->remap, "unresolved") || report_count(reload->remap, "unaccounted")))
        reload->exit_status = 5;
    return STEP_END;
}

static enum step transact(struct reload *reload, PyObject *names)
{
    enum step step;

    memory_was_short(); /* forgets what was before */
    step = find_modules(reload, names);
    if (step == STEP_NEXT)
        step = read_and_compile(reload);
    if (step == STEP_NEXT)
        step = begin_execution(reload);
    if (step == STEP_NEXT)
        step = ask_old_modules(reload);
    if (step == STEP_NEXT)
        step = execute(reload);
    if (step == STEP_NEXT && !(reload->moved_to = moved_to(&reload->execution)))
        step = STEP_ERROR;
    if (step == STEP_NEXT && c_memory_note_buffers(&reload->execution, &reload->buffers) < 0)
        step = STEP_ERROR;
    if (step == STEP_NEXT)
        step = change(reload);
    if (step == STEP_NEXT && c_memory_keep_buffers(&reload->buffers) < 0)
        lose_details(reload);
    if (step == STEP_NEXT)
        step = finish(reload);
    return step;
}

/* Of a dry run, or a job that failed, nothing stays either.  Returns `step`, or STEP_ERROR. */
static enum step forget_execution(struct reload *reload, enum step step)
{
    struct execution *e = &reload->execution;
    bool begun = e->n && e->known;
    PyObject *error[3];

    PyErr_Fetch(&error[0], &error[1], &error[2]);
    hooks_free(reload->hooks);
    plan_free(reload->plan);
    reload->hooks = NULL;
    reload->plan = NULL;
    if (begun) {
        execution_forget_imports(e);
        reload->left = leftover_take_back(e, reload->contents);
    }
    if (begun && (!reload->left || (step == STEP_ERROR && PyList_Size(reload->left)))) {
        for (int i = 0; i < 3; i++)
            Py_DecRef(error[i]);
        return left_behind(reload);
    }
    PyErr_Restore(error[0], error[1], error[2]);
    return step;
}

static void clear(struct reload *reload)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    hooks_free(reload->hooks);
    plan_free(reload->plan);
    execution_end(&reload->execution);
    pointer_set_clear(&reload->buffers);
    contents_free(reload->contents);
    for (size_t i = 0; i < reload->n_pairs; i++)
        module_pair_clear(&reload->pairs[i]);
    free(reload->pairs);
    free(reload->dicts);
    for (size_t i = 0; i < reload->n; i++) {
        struct member *member = &reload->members[i];

        Py_DecRef(member->name);
        Py_DecRef(member->module);
        Py_DecRef(member->new_code);
        Py_DecRef(member->old_code);
        Py_DecRef(member->error);
        Py_DecRef(member->unregistered);
        source_clear(&member->source);
    }
    free(reload->members);
    Py_DecRef(reload->contents_kept);
    Py_DecRef(reload->moved_to);
    Py_DecRef(reload->doubled_exits);
    Py_DecRef(reload->generations);
    Py_DecRef(reload->remap);
    Py_DecRef(reload->foreseen);
    Py_DecRef(reload->left);
    if (!reload->committed)
        Py_DecRef(reload->lent);
    threads_tidy(&reload->threads);
    PyErr_Restore(type, value, traceback);
}

PyObject *reload_modules(PyObject *names, const struct reload_options *options)
{
    struct reload reload = {.options = options, .threads = threads_look()};
    PyObject *result = NULL;
    enum step step = transact(&reload, names);

    if (!reload.committed)
        step = forget_execution(&reload, step);
    if (step == STEP_END)
        result = reload_report(&reload);
    if (!result && reload.committed) {
        lose_details(&reload);
        result = reload.foreseen;
        Py_IncRef(result);
    }
    clear(&reload);
    return result;
}

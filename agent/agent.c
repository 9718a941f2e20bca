/* The agent's entry and the job in hand (agent.h, request.h).
 *
 * The injector starts a thread of its own in the tracee, with all signals blocked, that calls
 * pyhot_agent_main.  It takes the GIL as any C thread does (PyGILState_Ensure: the main
 * interpreter), does one job, and ends; nothing of it stays but this shared object. */
#include "agent.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpython/version.h"
#include "emit.h"
#include "reload/reload.h"
#include "request.h"
#include "slice.h"
#include "stale/stale.h"
#include "stale/where.h"
#include "turn.h"

/* How long a reader may leave the last lines in the pipe before they are dropped. */
enum { FLUSH_MS = 5000 };

static struct {
    struct pyhot_request *request; /* NULL: no injector */
    bool failed;
    int exit_status;
    char code[32];
    char hint[512];
    char message[1024];
} job;

static bool move(enum pyhot_state from, enum pyhot_state to)
{
    uint32_t expected = from;
    return atomic_compare_exchange_strong(&job.request->state, &expected, to);
}

bool job_has_injector(void)
{
    return job.request != NULL;
}

bool job_runs_alone(void)
{
    return job.request && job.request->flags & PYHOT_LENT;
}

bool job_cancelled(void)
{
    return job.request && atomic_load(&job.request->state) == PYHOT_CANCELLED;
}

bool job_begin_commit(void)
{
    return !job.request || move(PYHOT_RUNNING, PYHOT_COMMITTING);
}

void job_fail(const char *code, int exit_status, const char *hint, const char *message, ...)
{
    va_list args;
    va_start(args, message);
    vsnprintf(job.message, sizeof job.message, message, args);
    va_end(args);
    snprintf(job.code, sizeof job.code, "%s", code);
    snprintf(job.hint, sizeof job.hint, "%s", hint ? hint : "");
    job.exit_status = exit_status;
    job.failed = true;
}

const char *job_take_failure(void)
{
    const char *message = job.failed ? job.message : NULL;

    job.failed = false;
    return message;
}

/* The next `n` strings of the request as a list.  New reference. */
static PyObject *take_strings(const char **position, const char *end, uint32_t n)
{
    PyObject *list = PyList_New(0);

    for (uint32_t i = 0; list && i < n; i++) {
        size_t length = strnlen(*position, (size_t)(end - *position));
        PyObject *text = PyUnicode_DecodeUTF8(*position, (Py_ssize_t)length, "surrogateescape");
        if (!text || PyList_Append(list, text) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(text);
        *position += length < (size_t)(end - *position) ? length + 1 : length;
    }
    return list;
}

static PyObject *attach(PyObject *modules, PyObject *new_names, PyObject *keep_names)
{
    struct reload_options options = {
        .flags = job.request->flags,
        .data_policy = job.request->data_policy,
        .new_names = new_names,
        .keep_names = keep_names,
    };
    if (!(options.flags & PYHOT_STALE))
        return reload_modules(modules, &options);

    PyObject *stale = stale_modules();
    PyObject *result = stale ? reload_modules(stale, &options) : NULL;
    Py_DecRef(stale);
    return result;
}

/* Does what the request asks.  New reference, or NULL after job_fail or with an exception. */
static PyObject *perform(void)
{
    const struct pyhot_request *request = job.request;
    const char *position = request->strings;
    const char *end = (const char *)request + request->size;
    PyObject *modules = take_strings(&position, end, request->n_modules);
    PyObject *new_names = take_strings(&position, end, request->n_new);
    PyObject *keep_names = take_strings(&position, end, request->n_keep);
    PyObject *result = NULL;

    if (!modules || !new_names || !keep_names)
        ; /* MemoryError is set */
    else if (request->command == PYHOT_ATTACH)
        result = attach(modules, new_names, keep_names);
    else if (request->command == PYHOT_LIST_STALE)
        result = stale_list(modules, request->flags);
    else if (request->command == PYHOT_WHERE)
        result = stale_where();
    else
        job_fail("protocol", 3, NULL, "the agent does not know command %u", request->command);

    Py_DecRef(modules);
    Py_DecRef(new_names);
    Py_DecRef(keep_names);
    return result;
}

/* Turns an exception that nobody expected into the job's failure. */
static void fail_with_exception(void)
{
    PyObject *type, *value, *traceback;

    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        job_fail("no-memory", 3, "attach again when it has memory",
                 "process %d has too little memory for what was asked; nothing was changed",
                 (int)getpid());
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    job_fail("internal", 3, "please report this; the process goes on as before",
             "pyhot failed in process %d and changed nothing: %s: %s", (int)getpid(),
             type ? ((PyTypeObject *)type)->tp_name : "no exception", utf8 ? utf8 : "?");
    PyErr_Clear();
    Py_DecRef(text);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
}

/* A version newer than any that we know is served, and told. */
static int add_note(PyObject *result)
{
    char version[32], text[200];
    PyObject *note;
    int status;

    if (cpython_minor() <= CPYTHON_NEWEST)
        return 0;
    cpython_version(version, sizeof version);
    snprintf(text, sizeof text,
             "CPython %s is newer than 3.%d, the newest that this pyhot was tested with; what it "
             "relies on was tried and holds",
             version, CPYTHON_NEWEST);
    note = PyUnicode_FromString(text);
    status = note ? PyDict_SetItemString(result, "note", note) : -1;
    Py_DecRef(note);
    return status;
}

static void run_with_gil(void)
{
    if (!move(PYHOT_WAITING, PYHOT_RUNNING))
        return; /* cancelled while the GIL was held by somebody else */

    if (!cpython_supported(job.message, sizeof job.message)) {
        emit_error("unknown-python", job.message, NULL, 3);
        return;
    }
    PyObject *result = perform();
    /* What is stale may be long; after a reload the program is to go on as soon as it can. */
    struct slice slice, *shared = job.request->command == PYHOT_LIST_STALE ? &slice : NULL;
    slice_begin(&slice);
    if (result && (add_note(result) < 0 || emit_object("result", result, shared) < 0)) {
        Py_DecRef(result);
        result = NULL;
        if (job.request->state == PYHOT_COMMITTING) {
            PyErr_Clear();
            job_fail("report-lost", 7, "pyhot list-stale tells what is loaded",
                     "the modules were reloaded in process %d, but its memory was too short to "
                     "report how",
                     (int)getpid());
        }
    }
    if (!result && !job.failed)
        fail_with_exception();
    if (!result)
        emit_error(job.code, job.message, *job.hint ? job.hint : NULL, job.exit_status);
    Py_DecRef(result);
}

static void run(struct pyhot_request *request)
{
    memset(&job, 0, sizeof job);
    job.request = request;
    emit_open(request->channel);
    run_with_gil();
    PyThreadState *thread = PyEval_SaveThread();
    emit_flush(FLUSH_MS);
    PyEval_RestoreThread(thread);
    emit_open(-1);
    if (!move(PYHOT_RUNNING, PYHOT_DONE))
        move(PYHOT_COMMITTING, PYHOT_DONE);
    job.request = NULL;
}

/* For what goes wrong before the job is ours, and with it the channel's buffer.  The pipe is
 * empty, so it takes a line; without a reader there is nobody to tell. */
static void refuse(const struct pyhot_request *request, const char *code, const char *message,
                   const char *hint)
{
    dprintf(request->channel,
            "{\"type\":\"error\",\"code\":\"%s\",\"message\":\"%s\",\"hint\":\"%s\",\"exit\":3}\n",
            code, message, hint);
}

/* PyGILState_Ensure without memory for a thread state is the end of the process (Py_FatalError, or
 * a crash: PyThreadState_New of 3.11). */
static bool has_memory(void)
{
    enum { MUCH_MORE_THAN_IT_TAKES = 1 << 16 };
    void *volatile room = malloc(MUCH_MORE_THAN_IT_TAKES);

    free(room);
    return room;
}

static bool is_cancelled(void *request)
{
    return atomic_load(&((struct pyhot_request *)request)->state) == PYHOT_CANCELLED;
}

__attribute__((visibility("default"))) void pyhot_agent_main(struct pyhot_request *request);

void pyhot_agent_main(struct pyhot_request *request)
{
    if (request->protocol != PYHOT_PROTOCOL) {
        refuse(request, "protocol", "the agent and pyhot are of different versions",
               "use the pyhot that was used on this process before");
    } else if (!Py_IsInitialized() || cpython_finalizing()) {
        refuse(request, "finalizing", "the interpreter is starting or ending", "try again");
    } else if (!has_memory()) {
        refuse(request, "no-memory", "the process has no memory left", "attach again when it has");
    } else {
        PyGILState_STATE gil = PyGILState_Ensure();
        int taken = turn_take(request->timeout_ms, is_cancelled, request);

        if (taken > 0) {
            run(request);
            turn_end();
        } else if (taken < 0) {
            PyErr_Clear();
            refuse(request, "no-memory", "the process has no memory left",
                   "attach again when it has");
        } else if (!is_cancelled(request)) {
            refuse(request, "busy", "another pyhot is at work in this process",
                   "wait until it has ended");
        }
        PyGILState_Release(gil);
    }
    close(request->channel);
}

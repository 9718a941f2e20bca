/* Running frames of all threads.
 *
 * Their locals and free variables are rewritten in place.  Their code and function are
 * not: what runs finishes on the code it began with, and is reported with thread,
 * function, file and line, like the suspended generators and coroutines of old code.
 * From 3.14 on, where the words in a frame are tagged, the locals are set through
 * frame.f_locals, which writes through since 3.13 (PEP 667). */
#include "frames.h"
#include "greenlets.h"

#include <stdlib.h>
#include <string.h>

#include "../cpython/frame.h"
#include "../cpython/introspect.h"
#include "../cpython/shared_keys.h"
#include "../cpython/version.h"
#include "address_set.h"

struct local {
    PyObject **field; /* or NULL: name in frame.f_locals */
    PyObject *frame, *name;
    uint32_t key;
    bool done;
};

struct frames {
    PyObject *current; /* dict: thread id -> innermost frame; buried */
    PyObject *running; /* list: all frame objects that run; buried */
    struct local *locals;
    size_t n, cap;
    PyObject **old_code; /* sorted */
    size_t n_old_code;
    bool failed;
};

void writers_prepare_process(void)
{
    frame_operands_known();
    shared_keys_known();
}

/* --- old code */

static int collect_old_code(struct remap *r)
{
    struct frames *f = r->frames;

    f->old_code = remap_alloc(r, (r->n_keys + 1) * sizeof *f->old_code);
    if (!f->old_code)
        return -1;
    f->n_old_code = 0;
    for (size_t i = 0; i < r->n_keys; i++) {
        const struct key *k = &r->keys[i];

        if (k->is_code)
            f->old_code[f->n_old_code++] = k->old;
        else if (type_of(k->old) == &PyFunction_Type && type_of(k->new_) == &PyFunction_Type &&
                 PyFunction_GetCode(k->old) != PyFunction_GetCode(k->new_))
            f->old_code[f->n_old_code++] = PyFunction_GetCode(k->old);
    }
    qsort(f->old_code, f->n_old_code, sizeof *f->old_code, by_address);
    return 0;
}

static bool is_old_code(const struct remap *r, PyObject *code)
{
    return bsearch(&code, r->frames->old_code, r->frames->n_old_code, sizeof code, by_address);
}

/* --- threads */

/* threading._active[id]._name without running Python code; new reference. */
static PyObject *threading_name(PyObject *id)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "threading");
    PyObject *active, *thread, *name, *attribute;

    if (!module || type_of(module) != &PyModule_Type)
        return NULL;
    active = dict_get(PyModule_GetDict(module), "_active");
    if (!active || type_of(active) != &PyDict_Type)
        return NULL;
    thread = PyDict_GetItemWithError(active, id);
    attribute = thread ? PyUnicode_InternFromString("_name") : NULL;
    if (!attribute)
        return NULL;
    name = PyObject_GenericGetAttr(thread, attribute);
    Py_DecRef(attribute);
    if (name && type_of(name) != &PyUnicode_Type) {
        Py_DecRef(name);
        name = NULL;
    }
    return name;
}

PyObject *frames_thread_name(PyObject *id)
{
    PyObject *name = threading_name(id);

    PyErr_Clear();
    return name ? name : PyUnicode_FromFormat("thread %S", id);
}

/* --- the report */

static int set_and_drop(PyObject *dict, const char *key, PyObject *owned)
{
    int result = owned ? PyDict_SetItemString(dict, key, owned) : -1;

    if (owned)
        Py_DecRef(owned);
    return result;
}

static PyObject *code_name(PyObject *code)
{
    PyObject *name = PyObject_GetAttrString(code, "co_qualname"); /* from 3.11 */

    if (!name && pass_over_error() == 0)
        name = PyObject_GetAttrString(code, "co_name");
    return name;
}

/* One that runs in the thread `id`, or the frame of a `suspended` something. */
static int report_old(struct remap *r, PyObject *id, const char *suspended, PyObject *frame,
                      PyObject *code)
{
    PyObject *entry = PyDict_New();
    int result = -1;

    if (entry &&
        (suspended ? set_and_drop(entry, "suspended", PyUnicode_FromString(suspended))
                   : set_and_drop(entry, "thread", frames_thread_name(id))) == 0 &&
        set_and_drop(entry, "function", code_name(code)) == 0 &&
        set_and_drop(entry, "file", PyObject_GetAttrString(code, "co_filename")) == 0 &&
        set_and_drop(entry, "line",
                     PyLong_FromLong(PyFrame_GetLineNumber((PyFrameObject *)frame))) == 0)
        result = PyList_Append(r->frames_on_old, entry);
    if (entry)
        Py_DecRef(entry);
    return result;
}

/* --- running frames */

static int add_local(struct remap *r, struct local local)
{
    struct frames *f = r->frames;

    if (remap_reserve(r, &f->locals, f->n, &f->cap, sizeof *f->locals) < 0)
        return -1;
    f->locals[f->n++] = local;
    r->keys[local.key].frames++;
    r->keys[local.key].roots++;
    return 0;
}

static int look_at_words(struct remap *r, PyObject *frame)
{
    struct frame_fields fields;
    ptrdiff_t key;

    if (!frame_open(frame, &fields))
        return -1;
    for (size_t i = 0; i < fields.n_locals && !fields.traversed; i++) {
        key = fields.locals[i] ? keys_find(r, fields.locals[i]) : -1;
        if (key >= 0 && !r->keys[key].is_code &&
            add_local(r, (struct local){&fields.locals[i], frame, NULL, (uint32_t)key, false}) < 0)
            return -1;
    }
    if (fields.function && *fields.function && !fields.of_generator) {
        key = keys_find(r, *fields.function);
        if (key >= 0)
            r->keys[key].frames++;
    }
    key = keys_find(r, fields.code);
    if (key >= 0)
        r->keys[key].frames++;
    return 0;
}

/* From 3.14.  Cells are objects of the collector: what is in them is found there. */
static int look_at_names(struct remap *r, PyObject *frame, PyObject *code)
{
    PyObject *locals = PyObject_GetAttrString(frame, "f_locals");
    PyObject *names = locals ? PyObject_GetAttrString(code, "co_varnames") : NULL;
    PyObject *cells = names ? PyObject_GetAttrString(code, "co_cellvars") : NULL;
    int result = cells ? 0 : -1;

    for (Py_ssize_t i = 0; result == 0 && !is_dict(locals) && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i), *value;
        ptrdiff_t key;

        if (PySequence_Contains(cells, name))
            continue;
        value = PyObject_GetItem(locals, name);
        if (!value) { /* unbound */
            result = pass_over_error();
            continue;
        }
        key = keys_find(r, value);
        Py_DecRef(value);
        if (key >= 0 && !r->keys[key].is_code)
            result = add_local(r, (struct local){NULL, frame, name, (uint32_t)key, false});
    }
    if (locals)
        Py_DecRef(locals);
    if (names)
        Py_DecRef(names);
    if (cells)
        Py_DecRef(cells);
    return result;
}

static int visit_fields(PyObject *frame, int (*visit)(PyObject *, void *), void *arg)
{
    struct frame_fields f;

    if (!frame_open(frame, &f))
        return -1;
    for (size_t i = 0; i < f.n_locals; i++)
        if (f.locals[i] && visit(f.locals[i], arg))
            break;
    return 0;
}

int frames_visit_locals(PyObject *frame, int (*visit)(PyObject *, void *), void *arg)
{
    PyObject *locals, *values;

    if (frame_layout_known())
        return visit_fields(frame, visit, arg);
    locals = PyObject_GetAttrString(frame, "f_locals");
    if (!locals)
        return -1;
    /* Others are the namespaces of modules and classes. */
    values = strcmp(type_of(locals)->tp_name, "FrameLocalsProxy") == 0
                 ? PyObject_CallMethod(locals, "values", NULL)
                 : PyList_New(0);
    Py_DecRef(locals);
    for (Py_ssize_t i = 0; values && i < PyList_Size(values); i++)
        if (visit(PyList_GetItem(values, i), arg)) /* the frame holds it */
            break;
    Py_DecRef(values);
    return values ? 0 : -1;
}

/* `id`: of the thread, or NULL: a suspended greenlet's. */
static int look_at_frame(struct remap *r, PyObject *id, PyObject *frame)
{
    PyObject *code = PyObject_GetAttrString(frame, "f_code");
    int result;

    if (!code)
        return -1;
    result = PyList_Append(r->frames->running, frame);
    if (result == 0 && is_old_code(r, code))
        result = report_old(r, id, id ? NULL : "greenlet", frame, code);
    if (result == 0)
        result = frame_layout_known() ? look_at_words(r, frame) : look_at_names(r, frame, code);
    Py_DecRef(code);
    return result;
}

static int look_at_thread(struct remap *r, PyObject *id, PyObject *innermost)
{
    PyObject *frame = innermost;
    int result = 0;

    Py_IncRef(frame);
    while (frame && result == 0) {
        PyObject *back = NULL;

        result = look_at_frame(r, id, frame);
        if (result == 0)
            result = frame_back(frame, &back);
        Py_DecRef(frame);
        frame = back;
    }
    Py_DecRef(frame);
    return result;
}

static int look_at_greenlet(struct remap *r, PyObject *innermost)
{
    return look_at_thread(r, NULL, innermost);
}

/* --- suspended generators, coroutines, asynchronous generators */

enum suspended { GENERATOR, COROUTINE, ASYNC_GENERATOR, NOTHING };

static const char *const kinds[] = {"generator", "coroutine", "asynchronous generator"};
static const char *const frame_names[] = {"gi_frame", "cr_frame", "ag_frame"};
static const char *const code_names[] = {"gi_code", "cr_code", "ag_code"};

static enum suspended kind_of(const PyObject *o)
{
    if (type_of(o) == &PyGen_Type)
        return GENERATOR;
    if (type_of(o) == &PyCoro_Type)
        return COROUTINE;
    return type_of(o) == &PyAsyncGen_Type ? ASYNC_GENERATOR : NOTHING;
}

static bool runs_function(PyObject *frame, PyObject *function)
{
    struct frame_fields fields;

    if (type_of(frame) != &PyFrame_Type)
        return false;
    if (!frame_layout_known()) {
        PyObject *code = PyObject_GetAttrString(frame, "f_code");
        bool runs = code == PyFunction_GetCode(function);

        if (code)
            Py_DecRef(code);
        return runs;
    }
    return frame_open(frame, &fields) && fields.function && *fields.function == function;
}

ptrdiff_t frames_keep(struct remap *r, const struct edge *e)
{
    PyObject *function = r->keys[e->key].old, *frame;
    enum suspended kind = kind_of(e->referrer);
    ptrdiff_t keeps;

    if (cpython_minor() < 11 || type_of(function) != &PyFunction_Type)
        return 0;
    if (kind == NOTHING)
        return runs_function(e->referrer, function);
    frame = PyObject_GetAttrString(e->referrer, frame_names[kind]);
    keeps = frame && runs_function(frame, function);
    if (pass_over_error() < 0)
        keeps = -1;
    if (frame)
        Py_DecRef(frame);
    return keeps;
}

static int look_at_suspended(PyObject *o, void *arg)
{
    enum suspended kind = kind_of(o);
    struct remap *r = arg;
    PyObject *code, *frame;
    int result = 0;

    if (kind == NOTHING)
        return 0;
    code = PyObject_GetAttrString(o, code_names[kind]);
    if (!code || !is_old_code(r, code)) {
        Py_DecRef(code);
        r->frames->failed |= pass_over_error() < 0;
        return r->frames->failed;
    }
    frame = PyObject_GetAttrString(o, frame_names[kind]);
    /* A finished one has no frame, and one that runs was found with its thread. */
    if (frame && frame != Py_None && !PySequence_Contains(r->frames->running, frame))
        result = report_old(r, NULL, kinds[kind], frame, code);
    Py_DecRef(code);
    if (frame)
        Py_DecRef(frame);
    else
        result = -1;
    if (result < 0)
        r->frames->failed = true;
    return result;
}

int frames_scan(struct remap *r)
{
    struct frames *f = r->frames;
    PyObject *id, *frame;
    Py_ssize_t pos = 0;

    if (!f && !(f = r->frames = remap_alloc(r, sizeof *f)))
        return -1;
    f->n = 0;
    for (size_t i = 0; i < r->n_keys; i++)
        r->keys[i].frames = r->keys[i].roots = 0;
    if (PyList_SetSlice(r->frames_on_old, 0, PyList_Size(r->frames_on_old), NULL) < 0 ||
        collect_old_code(r) < 0 || remap_reserve_graves(r, 2) < 0)
        return -1;
    f->current = _PyThread_CurrentFrames();
    if (!f->current)
        return -1;
    remap_bury(r, f->current);
    f->running = PyList_New(0);
    if (!f->running)
        return -1;
    remap_bury(r, f->running);
    while (PyDict_Next(f->current, &pos, &id, &frame))
        if (look_at_thread(r, id, frame) < 0)
            return -1;
    if (greenlets_each(r, look_at_greenlet) < 0)
        return -1;
    if (f->n_old_code)
        remap_each(r, KIND_SUSPENDED, look_at_suspended, r);
    return f->failed ? -1 : 0;
}

int frames_each(struct remap *r, int (*visit)(struct remap *, PyObject *frame, void *), void *arg)
{
    PyObject *running = r->frames ? r->frames->running : NULL;
    int result = 0;

    for (Py_ssize_t i = 0; running && result == 0 && i < PyList_Size(running); i++)
        result = visit(r, PyList_GetItem(running, i), arg);
    return result;
}

/* --- commit */

static int set_name(const struct remap *r, const struct local *local, bool back)
{
    const struct key *k = &r->keys[local->key];
    PyObject *locals = PyObject_GetAttrString(local->frame, "f_locals");
    int result = locals ? PyObject_SetItem(locals, local->name, back ? k->old : k->new_) : -1;

    if (locals)
        Py_DecRef(locals);
    return result;
}

static void frames_undo(struct remap *r)
{
    struct frames *f = r->frames;
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; f && i < f->n; i++) {
        if (!f->locals[i].done)
            continue;
        if (set_name(r, &f->locals[i], true) < 0)
            PyErr_WriteUnraisable(f->locals[i].frame);
        f->locals[i].done = false;
    }
    PyErr_Restore(type, value, traceback);
}

static int frames_commit(struct remap *r)
{
    struct frames *f = r->frames;

    for (size_t i = 0; f && i < f->n; i++) {
        if (f->locals[i].field)
            continue;
        if (set_name(r, &f->locals[i], false) < 0) {
            frames_undo(r);
            return -1;
        }
        f->locals[i].done = true;
        /* The frame keeps what was overwritten (f_overwritten_fast_locals of
         * Include/internal/pycore_frame.h, from 3.14): its operands may be borrowed. */
        if (cpython_minor() >= 14)
            r->keys[f->locals[i].key].left++;
    }
    return 0;
}

static void frames_finish(struct remap *r)
{
    struct frames *f = r->frames;

    for (size_t i = 0; f && i < f->n; i++) {
        PyObject **field = f->locals[i].field;
        const struct key *k = &r->keys[f->locals[i].key];

        if (!field || *field != k->old)
            continue;
        Py_IncRef(k->new_);
        *field = k->new_;
        Py_DecRef(k->old);
    }
}

const struct writer frame_writer = {
    .kind = "frame local",
    .commit_own = frames_commit,
    .undo_own = frames_undo,
    .finish = frames_finish,
};

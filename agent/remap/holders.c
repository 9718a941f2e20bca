/* References that C code holds where no traversal leads: what is left of a key's count.
 *
 * Signal handlers, functions given to atexit (3.10 to 3.13) and known fields that no traversal
 * shows are rewritten: the place is
 * proven by what the modules tell of it.  The others are named as well as can be.  A
 * function that C still holds afterwards (an SQL function, a trace function, the operand
 * stack of a caller) gets the code and defaults of its successor, so that who calls it
 * runs the new code. */
#include <stdio.h>

#include "../cpython/audit.h"
#include "../cpython/callbacks.h"
#include "../cpython/descr.h"
#include "../cpython/frame.h"
#include "../cpython/introspect.h"
#include "../cpython/jit.h"
#include "../cpython/statics.h"
#include "../cpython/version.h"
#include "frames.h"
#include "untraversed.h"

enum attribute { CODE, DEFAULTS, KWDEFAULTS, ATTRIBUTES };

static const char *const attributes[ATTRIBUTES] = {"__code__", "__defaults__", "__kwdefaults__"};

/* A function that stays with a C holder. */
struct forward {
    PyObject *old, *new_;
    PyObject *before[ATTRIBUTES]; /* buried */
    size_t done;                  /* attributes set so far */
};

struct place {
    PyObject **field;
    uint32_t key;
};

struct holders {
    struct place *places;
    size_t n_places, cap_places;
    struct forward *forwards;
    size_t n_forwards, done;
};

/* What neither traversal nor frames nor a name explain yet. */
static Py_ssize_t residual(const struct key *k)
{
    return k->refcount - (Py_ssize_t)(k->visits + k->frames + k->held);
}

static bool any_residual(const struct remap *r)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (residual(&r->keys[i]) > 0 && !r->keys[i].is_code)
            return true;
    return false;
}

static int add_place(struct remap *r, uint32_t key, PyObject **field)
{
    struct holders *h = r->holders;

    if (remap_reserve(r, &h->places, h->n_places, &h->cap_places, sizeof *h->places) < 0)
        return -1;
    h->places[h->n_places++] = (struct place){field, key};
    r->keys[key].frames++; /* accounted for, and rewritten */
    r->keys[key].roots++;
    return 0;
}

/* One reference of the key's is in `field` (NULL: not found), called `where`. */
static int add_holder(struct remap *r, uint32_t key, PyObject **field, const char *where)
{
    if (residual(&r->keys[key]) <= 0 || r->keys[key].is_code)
        return 0;
    return field ? add_place(r, key, field) : remap_hold(r, key, where, 1);
}

static int look_at_signals(struct remap *r)
{
    for (int number = 1; number <= SIGNALS; number++) {
        PyObject *handler = signal_handler(number);
        ptrdiff_t key = handler ? keys_find(r, handler) : -1;
        char where[40];

        if (handler)
            Py_DecRef(handler);
        if (key < 0)
            continue;
        snprintf(where, sizeof where, "handler of signal %d", number);
        if (add_holder(r, (uint32_t)key, signal_handler_field(number), where) < 0)
            return -1;
    }
    return 0;
}

static int look_at_atexit(struct remap *r)
{
    PyObject *functions = atexit_functions();
    int result = 0;

    for (Py_ssize_t i = 0; functions && result == 0 && i < PyList_Size(functions); i++) {
        ptrdiff_t key = keys_find(r, PyList_GetItem(functions, i));

        if (key >= 0 && residual(&r->keys[key]) > 0)
            result = add_holder(r, (uint32_t)key, atexit_field(functions, i), "atexit");
    }
    if (functions)
        Py_DecRef(functions);
    return result;
}

static int look_at_audit_hooks(struct remap *r)
{
    const PyObject *hooks[256];
    size_t n = audit_hooks(hooks, sizeof hooks / sizeof hooks[0]);

    for (size_t i = 0; i < n; i++) {
        ptrdiff_t key = hooks[i] ? keys_find(r, hooks[i]) : -1;

        if (key >= 0 && add_holder(r, (uint32_t)key, NULL, "audit hook") < 0)
            return -1;
    }
    return 0;
}

static int look_at_monitoring(struct remap *r)
{
    for (int tool = 0; tool < MONITORING_TOOLS; tool++) {
        for (int event = 0; event < MONITORING_EVENTS; event++) {
            PyObject *callback = monitoring_callback(tool, event);
            ptrdiff_t key = callback ? keys_find(r, callback) : -1;
            char where[60];

            if (key < 0)
                continue;
            snprintf(where, sizeof where, "callback of sys.monitoring tool %d", tool);
            if (add_holder(r, (uint32_t)key, NULL, where) < 0)
                return -1;
        }
    }
    return 0;
}

static int look_at_lazy_imports(struct remap *r)
{
    PyObject *filter = lazy_imports_filter();
    ptrdiff_t key = filter ? keys_find(r, filter) : -1;

    return key < 0 ? 0 : add_holder(r, (uint32_t)key, NULL, "sys.set_lazy_imports_filter");
}

/* Does `function` run `code`, or did it before the commit? */
static bool runs_code(const struct remap *r, PyObject *function, PyObject *code)
{
    PyObject *current = PyFunction_GetCode(function);
    ptrdiff_t key = keys_find(r, code);

    return current == code || (key >= 0 && r->keys[key].new_ == current);
}

/* Who calls a function keeps a reference to it: on the caller's operand stack (to 3.10), in the
 * frame (from 3.11; frames_scan counts it where the layout is known). */
static int look_at_call(struct remap *r, PyObject *frame, void *arg)
{
    PyObject *code = PyObject_GetAttrString(frame, "f_code");

    (void)arg;
    if (!code)
        return -1;
    for (size_t i = 0; i < r->n_keys; i++) {
        struct key *k = &r->keys[i];

        if (type_of(k->old) == &PyFunction_Type && residual(k) > 0 && runs_code(r, k->old, code)) {
            k->frames++;
            break;
        }
    }
    Py_DecRef(code);
    return 0;
}

static int name_operands(PyObject *frame, bool exact, char *where, size_t size)
{
    PyObject *code = PyObject_GetAttrString(frame, "f_code");
    PyObject *name = code ? PyObject_GetAttrString(code, "co_name") : NULL;
    const char *text = name ? PyUnicode_AsUTF8(name) : NULL;

    if (text)
        snprintf(where, size, "operand stack of %.120s(), which runs%s", text,
                 exact ? "" : ", or a trace of it there");
    Py_DecRef(name);
    Py_DecRef(code);
    return text ? 0 : -1;
}

static int look_at_operands(struct remap *r, PyObject *frame, bool exact)
{
    struct frame_operands operands;
    char where[200] = "";

    if (!frame_operands(frame, &operands))
        return -1;
    for (size_t i = 0; i < operands.n && operands.exact == exact; i++) {
        ptrdiff_t key = keys_find(r, (const PyObject *)operands.words[i]);

        if (key < 0 || residual(&r->keys[key]) <= 0 || r->keys[key].is_code)
            continue;
        if (!where[0] && name_operands(frame, exact, where, sizeof where) < 0)
            return -1;
        if (add_holder(r, (uint32_t)key, NULL, where) < 0)
            return -1;
    }
    return 0;
}

static int look_at_exact_operands(struct remap *r, PyObject *frame, void *arg)
{
    (void)arg;
    return look_at_operands(r, frame, true);
}

/* When all else is known: what is found may be a trace of a value that is gone. */
static int look_at_other_operands(struct remap *r, PyObject *frame, void *arg)
{
    (void)arg;
    return look_at_operands(r, frame, false);
}

/* PyThreadState: trace and profile functions, hooks of asynchronous generators, the
 * exception being handled.  Which of them is not asked. */
static int look_at_thread_states(struct remap *r)
{
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());

    for (; thread; thread = PyThreadState_Next(thread)) {
        uintptr_t words[32];

        if (!read_safely(thread, words, sizeof words))
            continue;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            ptrdiff_t key = words[i] ? keys_find(r, (PyObject *)words[i]) : -1;

            if (key >= 0 &&
                add_holder(r, (uint32_t)key, NULL,
                           "thread state (trace or profile function, hook, exception)") < 0)
                return -1;
        }
    }
    return 0;
}

static int look_at_recorded(uintptr_t word, void *arg)
{
    struct remap *r = arg;
    ptrdiff_t key = word ? keys_find(r, (PyObject *)word) : -1;

    return key < 0 ? 0 : add_holder(r, (uint32_t)key, NULL, "trace that the JIT is recording");
}

static int look_at_traces(struct remap *r)
{
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    int result = 0;

    for (; thread && result == 0; thread = PyThreadState_Next(thread))
        result = jit_recorded_words(thread, look_at_recorded, r);
    return result;
}

static int look_at_static_word(const struct static_word *word, void *arg)
{
    struct remap *r = arg;
    ptrdiff_t key = keys_find(r, (PyObject *)word->value);

    if (key < 0 || r->keys[key].is_code || residual(&r->keys[key]) <= 0 ||
        static_is_uncounted(word))
        return 0;
    return remap_hold_static(r, (uint32_t)key, word);
}

static int look_at_statics(struct remap *r)
{
    int result = static_words(look_at_static_word, r);

    if (result < 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    return result;
}

int holders_scan(struct remap *r)
{
    if (!r->holders && !(r->holders = remap_alloc(r, sizeof *r->holders)))
        return -1;
    r->holders->n_places = 0;
    for (size_t i = 0; i < r->n_keys; i++)
        r->keys[i].held = 0;
    if (PyList_SetSlice(r->held, 0, PyList_Size(r->held), NULL) < 0)
        return -1;
    if (!any_residual(r))
        return 0;
    if (look_at_signals(r) < 0 || look_at_atexit(r) < 0 || look_at_thread_states(r) < 0 ||
        look_at_monitoring(r) < 0 || look_at_lazy_imports(r) < 0 ||
        frames_each(r, look_at_call, NULL) < 0)
        return -1;
    if (frame_operands_known() && frames_each(r, look_at_exact_operands, NULL) < 0)
        return -1;
    if (any_residual(r) && untraversed_objects(r, add_holder) < 0)
        return -1;
    if (any_residual(r) && look_at_traces(r) < 0)
        return -1;
    /* The whole interpreter state is read for these, and all static data. */
    if (any_residual(r) && look_at_audit_hooks(r) < 0)
        return -1;
    if (any_residual(r) && look_at_statics(r) < 0)
        return -1;
    if (any_residual(r) && untraversed_memory(r, add_holder) < 0)
        return -1;
    if (any_residual(r) && frame_operands_known())
        return frames_each(r, look_at_other_operands, NULL);
    return 0;
}

/* --- functions that stay with C */

static PyObject *attribute_of(PyObject *function, enum attribute a)
{
    switch (a) {
    case CODE:
        return PyFunction_GetCode(function);
    case DEFAULTS:
        return PyFunction_GetDefaults(function);
    default:
        return PyFunction_GetKwDefaults(function);
    }
}

static bool forwards(const struct key *k)
{
    return residual(k) + (Py_ssize_t)k->held > 0 && type_of(k->old) == &PyFunction_Type &&
           type_of(k->new_) == &PyFunction_Type && !PyFunction_GetClosure(k->old) &&
           !PyFunction_GetClosure(k->new_);
}

static int holders_prepare(struct remap *r)
{
    struct holders *h = r->holders;
    size_t n = 1;

    for (size_t i = 0; i < r->n_keys; i++)
        n += forwards(&r->keys[i]);
    h->forwards = remap_alloc(r, n * sizeof *h->forwards);
    if (!h->forwards || remap_reserve_graves(r, ATTRIBUTES * n) < 0)
        return -1;
    for (size_t i = 0; i < r->n_keys; i++)
        if (forwards(&r->keys[i]))
            h->forwards[h->n_forwards++] =
                (struct forward){.old = r->keys[i].old, .new_ = r->keys[i].new_};
    return 0;
}

static void holders_undo(struct remap *r)
{
    struct holders *h = r->holders;
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; h && i < h->n_forwards; i++) {
        struct forward *f = &h->forwards[i];

        while (f->done) {
            PyObject *before = f->before[--f->done];
            PyObject *setter = builtin_descr(&PyFunction_Type, attributes[f->done]);

            if (descr_set(setter, f->old, before ? before : Py_None) < 0)
                PyErr_WriteUnraisable(f->old);
        }
    }
    PyErr_Restore(type, value, traceback);
}

static int forward(struct remap *r, struct forward *f)
{
    for (; f->done < ATTRIBUTES; f->done++) {
        enum attribute a = (enum attribute)f->done;
        PyObject *setter = builtin_descr(&PyFunction_Type, attributes[a]),
                 *value = attribute_of(f->new_, a);

        f->before[a] = attribute_of(f->old, a);
        if (f->before[a]) {
            Py_IncRef(f->before[a]);
            remap_bury(r, f->before[a]);
        }
        if (!setter || descr_set(setter, f->old, value ? value : Py_None) < 0)
            return -1;
    }
    return 0;
}

static int holders_commit(struct remap *r)
{
    struct holders *h = r->holders;

    for (size_t i = 0; h && i < h->n_forwards; i++) {
        if (forward(r, &h->forwards[i]) < 0) {
            holders_undo(r);
            return -1;
        }
    }
    return 0;
}

static void holders_finish(struct remap *r)
{
    struct holders *h = r->holders;

    for (size_t i = 0; h && i < h->n_places; i++) {
        const struct place *p = &h->places[i];
        const struct key *k = &r->keys[p->key];

        if (*p->field != k->old)
            continue;
        Py_IncRef(k->new_);
        *p->field = k->new_;
        Py_DecRef(k->old);
    }
}

const struct writer holder_writer = {
    .kind = "C holder",
    .prepare = holders_prepare,
    .commit_own = holders_commit,
    .undo_own = holders_undo,
    .finish = holders_finish,
};

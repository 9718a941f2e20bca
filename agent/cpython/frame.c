#include "frame.h"

#include <string.h>

#include "introspect.h"
#include "statics.h"
#include "version.h"

struct try_block {
    int type, handler, level;
};

/* Include/frameobject.h (3.8), Include/cpython/frameobject.h (3.9); CO_MAXBLOCKS is 20. */
struct frame_v8 {
    PyVarObject ob_base;
    PyObject *back, *code, *builtins, *globals, *locals, **valuestack, **stacktop, *trace;
    char trace_lines, trace_opcodes;
    PyObject *gen;
    int lasti, lineno, iblock;
    char executing;
    struct try_block blocks[20];
    PyObject *localsplus[];
};

/* Include/cpython/frameobject.h (3.10). */
struct frame_v10 {
    PyVarObject ob_base;
    PyObject *back, *code, *builtins, *globals, *locals, **valuestack, *trace;
    int stackdepth;
    char trace_lines, trace_opcodes;
    PyObject *gen;
    int lasti, lineno, iblock;
    signed char state;
    struct try_block blocks[20];
    PyObject *localsplus[];
};

/* struct _PyInterpreterFrame, Include/internal/pycore_frame.h (3.11). */
struct inner_v11 {
    PyObject *function, *globals, *builtins, *locals, *code, *frame_obj;
    void *previous, *prev_instr;
    int stacktop;
    bool is_entry;
    char owner;
    PyObject *localsplus[];
};

/* The same (3.12, 3.13). */
struct inner_v12 {
    PyObject *code;
    void *previous;
    PyObject *function, *globals, *builtins, *locals, *frame_obj;
    void *instr;
    int stacktop;
    uint16_t return_offset;
    char owner;
    PyObject *localsplus[];
};

/* The same, Include/internal/pycore_interpframe_structs.h (3.14, 3.15).  Words of the type
 * uintptr_t are a _PyStackRef. */
struct inner_v14 {
    uintptr_t code;
    void *previous;
    uintptr_t function;
    PyObject *globals, *builtins, *locals, *frame_obj;
    void *instr;
    const uintptr_t *stackpointer;
    uint16_t return_offset;
    char owner;
    uint8_t visited;
    uintptr_t localsplus[];
};

/* struct _frame, Include/internal/pycore_frame.h (3.11 and later). */
struct frame_v11 {
    PyObject ob_base;
    PyObject *back;
    void *inner;
};

enum { OWNED_BY_GENERATOR = 1 }; /* enum _frameowner, 3.11 and later */

enum { STACK_REF_TAGS = 3 }; /* Include/internal/pycore_stackref.h */

/* -1 with an exception. */
static Py_ssize_t count_of(PyObject *o, const char *name)
{
    PyObject *value = PyObject_GetAttrString(o, name);
    Py_ssize_t n = value ? PyLong_AsSsize_t(value) : -1;

    Py_DecRef(value);
    return n;
}

Py_ssize_t int_attribute(PyObject *o, const char *name)
{
    Py_ssize_t n = count_of(o, name);

    PyErr_Clear();
    return n;
}

/* Borrowed from the object; NULL with an exception. */
static PyObject *attribute(PyObject *o, const char *name)
{
    PyObject *value = PyObject_GetAttrString(o, name);

    if (value)
        Py_DecRef(value);
    return value;
}

int frame_back(PyObject *frame, PyObject **back)
{
    *back = PyObject_GetAttrString(frame, "f_back");
    if (!*back)
        return -1;
    if (*back == Py_None) {
        Py_DecRef(*back);
        *back = NULL;
    }
    return 0;
}

/* co_nlocalsplus: from 3.11 on a cell variable that is an argument has one place, not two. */
static Py_ssize_t count_locals(PyObject *code)
{
    Py_ssize_t n = count_of(code, "co_nlocals");
    PyObject *names = n < 0 ? NULL : PyObject_GetAttrString(code, "co_varnames");
    PyObject *cells = names ? PyObject_GetAttrString(code, "co_cellvars") : NULL;
    PyObject *free_names = cells ? PyObject_GetAttrString(code, "co_freevars") : NULL;

    if (free_names) {
        n += PyTuple_Size(free_names) + PyTuple_Size(cells);
        for (Py_ssize_t i = 0; cpython_minor() >= 11 && i < PyTuple_Size(cells); i++)
            n -= PySequence_Contains(names, PyTuple_GetItem(cells, i));
    } else {
        n = -1;
    }
    Py_DecRef(names);
    Py_DecRef(cells);
    Py_DecRef(free_names);
    return n;
}

static bool open_fields(PyObject *frame, struct frame_fields *f)
{
    Py_ssize_t n_locals;
    int minor = cpython_minor(), stacktop = -1;

    memset(f, 0, sizeof *f);
    f->code = attribute(frame, "f_code");
    if (!f->code)
        return false;
    if (minor <= 9) {
        f->locals = ((struct frame_v8 *)frame)->localsplus;
    } else if (minor == 10) {
        f->locals = ((struct frame_v10 *)frame)->localsplus;
    } else if (minor == 11) {
        struct inner_v11 *inner = ((struct frame_v11 *)frame)->inner;

        f->function = &inner->function;
        f->locals = inner->localsplus;
        stacktop = inner->stacktop;
        f->of_generator = inner->owner == OWNED_BY_GENERATOR;
    } else {
        struct inner_v12 *inner = ((struct frame_v11 *)frame)->inner;

        f->function = &inner->function;
        f->locals = inner->localsplus;
        stacktop = inner->stacktop;
        f->of_generator = inner->owner == OWNED_BY_GENERATOR;
    }
    n_locals = count_locals(f->code);
    if (n_locals < 0)
        return false;
    f->n_locals = (size_t)n_locals;
    f->traversed = f->of_generator && stacktop >= 0;
    return true;
}

/* --- the operand stack */

static bool open_operands_v14(PyObject *frame, struct frame_operands *operands)
{
    const struct inner_v14 *inner = ((struct frame_v11 *)frame)->inner;
    PyObject *code = attribute(frame, "f_code");
    Py_ssize_t n_locals = code ? count_locals(code) : -1;
    Py_ssize_t size = n_locals >= 0 ? count_of(code, "co_stacksize") : -1;
    uintptr_t used;

    if (size < 0)
        return false;
    if (inner->owner == OWNED_BY_GENERATOR)
        return true;
    operands->words = inner->localsplus + n_locals;
    used = ((uintptr_t)inner->stackpointer - (uintptr_t)operands->words) / sizeof(uintptr_t);
    /* A debug build clears the pointer while the frame runs. */
    operands->exact = inner->stackpointer && used <= (uintptr_t)size;
    operands->n = operands->exact ? used : (size_t)size;
    return true;
}

static bool open_operands_v8(PyObject *frame, struct frame_operands *operands)
{
    struct frame_fields f;
    Py_ssize_t size;
    int stacktop = -1;

    if (!open_fields(frame, &f))
        return false;
    size = count_of(f.code, "co_stacksize");
    if (size < 0)
        return false;
    if (f.traversed)
        return true;
    if (cpython_minor() >= 12)
        stacktop = ((const struct inner_v12 *)((struct frame_v11 *)frame)->inner)->stacktop;
    else if (cpython_minor() == 11)
        stacktop = ((const struct inner_v11 *)((struct frame_v11 *)frame)->inner)->stacktop;
    operands->words = (const uintptr_t *)(f.locals + f.n_locals);
    operands->exact = stacktop >= (Py_ssize_t)f.n_locals;
    operands->n = operands->exact ? (size_t)stacktop - f.n_locals : (size_t)size;
    return true;
}

bool frame_operands(PyObject *frame, struct frame_operands *operands)
{
    memset(operands, 0, sizeof *operands);
    return cpython_minor() >= 14 ? open_operands_v14(frame, operands)
                                 : open_operands_v8(frame, operands);
}

/* --- is it so? */

/* b is an argument and a cell variable. */
static const char sample_source[] = "def sample(a, b, look, current):\n"
                                    "    keep = lambda: b\n"
                                    "    return look((look, current()))\n";

static bool is_cell_of(PyObject *o, PyObject *content)
{
    PyObject *found;

    if (!o || type_of(o) != &PyCell_Type)
        return false;
    found = PyCell_Get(o);
    if (found)
        Py_DecRef(found);
    return found == content;
}

static bool refers_to(uintptr_t stack_ref, const void *o)
{
    return (stack_ref & ~(uintptr_t)STACK_REF_TAGS) == (uintptr_t)o;
}

static bool is_among_operands(PyObject *frame, const PyObject *o)
{
    struct frame_operands operands;

    if (!frame_operands(frame, &operands))
        return false;
    for (size_t i = 0; i < operands.n; i++)
        if (refers_to(operands.words[i], o))
            return true;
    return false;
}

static bool sample_holds(PyObject *frame, const PyObject *look)
{
    bool early = cpython_minor() < 11, ok;
    struct frame_fields f;

    ok = open_fields(frame, &f) && f.n_locals == (early ? 6 : 5) && f.locals[0] == Py_None &&
         is_cell_of(f.locals[early ? 5 : 1], (PyObject *)&PyDict_Type) && !f.traversed &&
         is_among_operands(frame, look);
    if (ok && !early)
        ok = type_of(*f.function) == &PyFunction_Type && PyFunction_GetCode(*f.function) == f.code;
    return ok;
}

/* Of a version that nobody has seen, nothing is followed that was not read safely. */
static bool sample_holds_v14(PyObject *frame, const PyObject *look)
{
    uintptr_t words[sizeof(struct inner_v14) / sizeof(uintptr_t) + 3];
    const struct inner_v14 *inner = (const struct inner_v14 *)words;
    struct frame_v11 outer;

    return read_safely(frame, &outer, sizeof outer) &&
           read_safely(outer.inner, words, sizeof words) && inner->frame_obj == frame &&
           refers_to(inner->code, attribute(frame, "f_code")) &&
           refers_to(inner->localsplus[0], Py_None) && refers_to(inner->localsplus[2], look) &&
           is_among_operands(frame, look);
}

/* Called by sample() with this function and its own frame; returns whether all is where it should
 * be. */
static PyObject *look_at_sample(PyObject *self, PyObject *pair)
{
    PyObject *look = PyTuple_GetItem(pair, 0), *frame = PyTuple_GetItem(pair, 1);

    (void)self;
    return PyBool_FromLong(
        type_of(frame) == &PyFrame_Type &&
        (cpython_minor() >= 14 ? sample_holds_v14(frame, look) : sample_holds(frame, look)));
}

static PyMethodDef look_def = {"look", look_at_sample, METH_O, NULL};

static PyObject *run_sample(PyObject *namespace)
{
    PyObject *name = PyUnicode_FromString("<pyhot>");
    PyObject *code =
        name ? Py_CompileStringObject(sample_source, name, Py_file_input, NULL, -1) : NULL;
    PyObject *done = code ? PyEval_EvalCode(code, namespace, namespace) : NULL;
    PyObject *look = PyCFunction_NewEx(&look_def, NULL, NULL), *result = NULL;

    if (done && look)
        result = PyObject_CallFunctionObjArgs(dict_get(namespace, "sample"), Py_None, &PyDict_Type,
                                              look, PySys_GetObject("_getframe"), NULL);
    if (name)
        Py_DecRef(name);
    if (code)
        Py_DecRef(code);
    if (done)
        Py_DecRef(done);
    if (look)
        Py_DecRef(look);
    return result;
}

static bool prevented;

bool frame_look_prevented(void)
{
    return prevented;
}

/* Tried once. */
static bool sample_is_so(void)
{
    static enum { UNTRIED, NO, YES } known;

    if (known == UNTRIED) {
        PyObject *namespace = PyDict_New(), *result = NULL;

        if (namespace && PyDict_SetItemString(namespace, "__builtins__", PyEval_GetBuiltins()) == 0)
            result = run_sample(namespace);
        prevented = !result; /* then it is tried again */
        if (result)
            known = result == Py_True ? YES : NO;
        PyErr_Clear();
        if (result)
            Py_DecRef(result);
        if (namespace) {
            PyDict_Clear(namespace); /* the function in it refers to it */
            Py_DecRef(namespace);
        }
    }
    return known == YES;
}

bool frame_layout_known(void)
{
    return cpython_minor() <= 13 && sample_is_so();
}

bool frame_operands_known(void)
{
    return sample_is_so();
}

bool frame_open(PyObject *frame, struct frame_fields *fields)
{
    return open_fields(frame, fields);
}

#include "frame.h"

#include <string.h>

#include "introspect.h"
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

/* Include/internal/pycore_frame.h (3.11 to 3.13). */
struct frame_v11 {
    PyObject ob_base;
    PyObject *back;
    void *inner;
};

enum { OWNED_BY_GENERATOR = 1 }; /* enum _frameowner, 3.11 to 3.13 */

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
    f->stack = f->locals + n_locals;
    if (minor <= 10) {
        Py_ssize_t size = count_of(f->code, "co_stacksize");

        if (size < 0)
            return false;
        f->n_stack = (size_t)size;
    } else
        f->n_stack = stacktop > n_locals ? (size_t)(stacktop - n_locals) : 0;
    f->traversed = f->of_generator && stacktop >= 0;
    return true;
}

/* --- is it so? */

/* b is an argument and a cell variable. */
static const char sample_source[] = "def sample(a, b, look, current):\n"
                                    "    keep = lambda: b\n"
                                    "    return look(current())\n";

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

/* Called by sample() with its own frame; returns whether all is where it should be. */
static PyObject *look_at_sample(PyObject *self, PyObject *frame)
{
    bool early = cpython_minor() < 11, ok;
    struct frame_fields f;

    (void)self;
    ok = type_of(frame) == &PyFrame_Type && open_fields(frame, &f) &&
         f.n_locals == (early ? 6 : 5) && f.locals[0] == Py_None &&
         is_cell_of(f.locals[early ? 5 : 1], (PyObject *)&PyDict_Type) && !f.traversed;
    if (ok && !early)
        ok = type_of(*f.function) == &PyFunction_Type && PyFunction_GetCode(*f.function) == f.code;
    return PyBool_FromLong(ok);
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

bool frame_layout_known(void)
{
    static enum { UNTRIED, NO, YES } known;

    if (known == UNTRIED && cpython_minor() <= 13) {
        PyObject *namespace = PyDict_New(), *result = NULL;

        if (namespace && PyDict_SetItemString(namespace, "__builtins__", PyEval_GetBuiltins()) == 0)
            result = run_sample(namespace);
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

bool frame_open(PyObject *frame, struct frame_fields *fields)
{
    return open_fields(frame, fields);
}

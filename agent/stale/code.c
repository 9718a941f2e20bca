/* Comparing code, definition by definition; code.h. */
#include "code.h"

#include <string.h>

#include "cpython/bytecode.h"
#include "cpython/exception_table.h"
#include "cpython/introspect.h"
#include "cpython/version.h"
#include "source/loaded.h"

/* Include/cpython/code.h (to 3.8 Include/code.h), the same in 3.8 to 3.15. */
#define CO_NEWLOCALS          0x2       /* a class body has it not */
#define CO_HAS_DOCSTRING      0x4000000 /* from 3.14 on */
#define CO_ITERABLE_COROUTINE 0x100     /* types.coroutine sets it in a copy of the code */

static int same_constant(PyObject *old, PyObject *new_, bool *moved);

PyObject *stale_code_name(PyObject *code)
{
    return PyObject_GetAttrString(code, "co_name");
}

bool stale_is_anonymous(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);

    return text && (*text == '<' || strcmp(text, "__annotate__") == 0);
}

/* co_flags, or -1 with an exception. */
static long code_flags(PyObject *code)
{
    PyObject *flags = PyObject_GetAttrString(code, "co_flags");
    long value = flags ? PyLong_AsLong(flags) : -1;

    Py_DecRef(flags);
    return value;
}

int stale_is_function(PyObject *code)
{
    long flags = code_flags(code);

    return flags == -1 ? -1 : (flags & CO_NEWLOCALS) != 0;
}

/* --- equality */

static int same_attribute(PyObject *old, PyObject *new_, const char *attribute)
{
    PyObject *a = PyObject_GetAttrString(old, attribute);
    PyObject *b = a ? PyObject_GetAttrString(new_, attribute) : NULL;
    int same = b ? PyObject_RichCompareBool(a, b, Py_EQ) : -1;

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

static int same_flags(PyObject *old, PyObject *new_)
{
    long a = code_flags(old), b = a == -1 ? -1 : code_flags(new_);

    return b == -1 ? -1 : ((a ^ b) & ~CO_ITERABLE_COROUTINE) == 0;
}

static int same_items(PyObject *old, PyObject *new_, bool *moved)
{
    Py_ssize_t n = PyTuple_Size(old);
    int same = n == PyTuple_Size(new_);

    for (Py_ssize_t i = 0; same == 1 && i < n; i++)
        same = same_constant(PyTuple_GetItem(old, i), PyTuple_GetItem(new_, i), moved);
    return same;
}

/* repr tells 0.0 from -0.0, and one nan is as good as another. */
static int same_repr(PyObject *old, PyObject *new_)
{
    PyObject *a = PyObject_Repr(old);
    PyObject *b = a ? PyObject_Repr(new_) : NULL;
    int same = b ? PyUnicode_Compare(a, b) == 0 : -1;

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

static int same_nested(PyObject *old, PyObject *new_, bool *moved)
{
    PyObject *a = stale_code_name(old), *b = a ? stale_code_name(new_) : NULL;
    int same = b ? PyUnicode_Compare(a, b) == 0 : -1;

    if (same == 1 && stale_is_anonymous(a))
        same = stale_same_code(old, new_, moved);
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* 1 and 1.0 are equal, and so are sets of them. */
static int same_members(PyObject *old, PyObject *new_, bool *moved)
{
    PyObject *a = PySequence_List(old), *b = a ? PySequence_List(new_) : NULL;
    int same = b ? PyObject_RichCompareBool(old, new_, Py_EQ) : -1;

    for (Py_ssize_t i = 0; same == 1 && i < PyList_Size(a); i++) {
        int found = 0;
        for (Py_ssize_t k = 0; found == 0 && k < PyList_Size(b); k++)
            found = same_constant(PyList_GetItem(a, i), PyList_GetItem(b, k), moved);
        same = found;
    }
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

static int same_constant(PyObject *old, PyObject *new_, bool *moved)
{
    PyTypeObject *type = type_of(old);

    if (old == new_)
        return 1;
    if (type != type_of(new_))
        return 0;
    if (type == &PyCode_Type)
        return same_nested(old, new_, moved);
    if (type == &PyTuple_Type)
        return same_items(old, new_, moved);
    if (type == &PyFrozenSet_Type)
        return same_members(old, new_, moved);
    if (type == &PyFloat_Type || type == &PyComplex_Type)
        return same_repr(old, new_);
    return PyObject_RichCompareBool(old, new_, Py_EQ);
}

static int same_constants(PyObject *old, PyObject *new_, bool *moved)
{
    PyObject *a = PyObject_GetAttrString(old, "co_consts");
    PyObject *b = a ? PyObject_GetAttrString(new_, "co_consts") : NULL;
    int same = b ? same_items(a, b, moved) : -1;

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* [(start, end, line), ...] of the code's instructions.  New reference. */
static PyObject *line_list(PyObject *code)
{
    PyObject *lines = PyObject_CallMethod(code, "co_lines", NULL);
    PyObject *list = lines ? PySequence_List(lines) : NULL;

    Py_DecRef(lines);
    return list;
}

/* Are the instructions on the same lines?  co_lnotab has nothing but lines, and warns from 3.12
 * on; co_linetable, of 3.10, has columns too from 3.11 on. */
static int same_lines(PyObject *old, PyObject *new_)
{
    int same = same_attribute(old, new_, "co_firstlineno");
    PyObject *a, *b;

    if (same != 1 || cpython_minor() < 10)
        return same == 1 ? same_attribute(old, new_, "co_lnotab") : same;
    same = same_attribute(old, new_, "co_linetable");
    if (same != 0)
        return same;
    a = line_list(old);
    b = a ? line_list(new_) : NULL;
    same = b ? PyObject_RichCompareBool(a, b, Py_EQ) : -1;
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* --- the same program */

static int same_instruction(const struct bytecode *old, const struct bytecode *new_, size_t i,
                            bool *moved)
{
    PyObject *a = old->at[i].value, *b = new_->at[i].value;

    if (old->at[i].opcode == new_->at[i].opcode && a && b)
        return same_constant(a, b, moved);
    return bytecode_same(old, i, new_, i, 1);
}

/* Where the source is in other lines the compiler may make other instructions of it: it keeps a NOP
 * for the sake of a line, and joins instructions only within one.  Constants that dead code or the
 * folding of constants has left over are of no use. */
static int same_program(PyObject *old, PyObject *new_, bool *moved)
{
    struct bytecode a, b = {0};
    int same = bytecode_decode(old, &a) == 0 && bytecode_decode(new_, &b) == 0 ? a.n == b.n : -1;

    for (size_t i = 0; same == 1 && i < a.n; i++)
        same = same_instruction(&a, &b, i, moved);
    if (same == 1)
        same = exceptions_same(&a, &b);
    bytecode_clear(&a);
    bytecode_clear(&b);
    return same;
}

/* The docstring of a function is a constant that nothing loads, the first one. */
static int same_docstring(PyObject *old, PyObject *new_, bool *moved)
{
    if (cpython_minor() >= 14 && !(code_flags(old) & CO_HAS_DOCSTRING))
        return 1; /* nor has the other: flags were compared */

    PyObject *a = PyObject_GetAttrString(old, "co_consts");
    PyObject *b = a ? PyObject_GetAttrString(new_, "co_consts") : NULL;
    PyObject *x = b && PyTuple_Size(a) ? PyTuple_GetItem(a, 0) : NULL;
    PyObject *y = b && PyTuple_Size(b) ? PyTuple_GetItem(b, 0) : NULL;
    bool text = (x && is_str(x)) || (y && is_str(y));
    int same = !b ? -1 : !text ? 1 : x && y ? same_constant(x, y, moved) : 0;

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* To the byte. */
static int same_bytes(PyObject *old, PyObject *new_, bool *moved)
{
    int same = same_attribute(old, new_, "co_code");

    if (same == 1)
        same = same_attribute(old, new_, "co_names");
    if (same == 1 && cpython_minor() >= 11)
        same = same_attribute(old, new_, "co_exceptiontable");
    return same == 1 ? same_constants(old, new_, moved) : same;
}

int stale_same_code(PyObject *old, PyObject *new_, bool *moved)
{
    static const char *const attributes[] = {
        "co_varnames", "co_freevars",        "co_cellvars",       "co_name",
        "co_argcount", "co_posonlyargcount", "co_kwonlyargcount",
    };
    bool nested_moved = false;

    if (old == new_)
        return 1;
    int same = code_same(old, new_);
    if (same != 0) /* by far the quickest way, and what most functions are */
        return same;
    same = same_flags(old, new_);
    for (size_t i = 0; same == 1 && i < sizeof attributes / sizeof *attributes; i++)
        same = same_attribute(old, new_, attributes[i]);
    if (same == 1 && (same = same_bytes(old, new_, &nested_moved)) == 0) {
        nested_moved = false;
        same = same_docstring(old, new_, &nested_moved);
        if (same == 1)
            same = same_program(old, new_, &nested_moved);
    }
    if (same != 1)
        return same;

    int lines = same_lines(old, new_);
    if (lines < 0)
        return -1;
    *moved |= nested_moved || !lines;
    return 1;
}

/* --- definitions */

/* into[key].append(code) */
static int add_code(PyObject *into, PyObject *key, PyObject *code)
{
    PyObject *codes = PyDict_GetItemWithError(into, key);

    if (codes)
        return PyList_Append(codes, code);
    if (PyErr_Occurred())
        return -1;
    codes = PyList_New(0);
    int result = codes && PyList_Append(codes, code) == 0 ? PyDict_SetItem(into, key, codes) : -1;
    Py_DecRef(codes);
    return result;
}

static int collect(PyObject *code, PyObject *prefix, struct definitions *into);

int definitions_add(struct definitions *into, PyObject *qualname, PyObject *code)
{
    int function = stale_is_function(code);
    PyObject *inner = NULL;
    int result = -1;

    if (function >= 0 && add_code(into->by_qualname, qualname, code) == 0)
        inner = PyUnicode_FromFormat(function ? "%U.<locals>." : "%U.", qualname);
    if (inner)
        result = collect(code, inner, into);
    Py_DecRef(inner);
    return result;
}

static int collect_one(PyObject *code, PyObject *prefix, struct definitions *into)
{
    PyObject *name = stale_code_name(code);
    PyObject *qualname = NULL;
    int result = -1;

    if (!name || add_code(into->by_name, name, code) < 0)
        goto out;
    /* Lambdas and comprehensions belong to what holds them; so do type parameters, whose code
     * holds the definition itself. */
    if (stale_is_anonymous(name)) {
        result = collect(code, prefix, into);
        goto out;
    }
    qualname = PyUnicode_FromFormat("%U%U", prefix, name);
    if (qualname)
        result = definitions_add(into, qualname, code);
out:
    Py_DecRef(name);
    Py_DecRef(qualname);
    return result;
}

static int collect(PyObject *code, PyObject *prefix, struct definitions *into)
{
    PyObject *constants = PyObject_GetAttrString(code, "co_consts");
    int result = constants ? 0 : -1;

    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_Size(constants); i++) {
        PyObject *constant = PyTuple_GetItem(constants, i);
        if (type_of(constant) == &PyCode_Type)
            result = collect_one(constant, prefix, into);
    }
    Py_DecRef(constants);
    return result;
}

int definitions_init(struct definitions *definitions)
{
    definitions->by_qualname = PyDict_New();
    definitions->by_name = PyDict_New();
    return definitions->by_qualname && definitions->by_name ? 0 : -1;
}

int definitions_of(PyObject *module_code, struct definitions *into)
{
    PyObject *prefix = PyUnicode_FromString("");
    int result = definitions_init(into);

    if (result == 0)
        result = prefix ? collect(module_code, prefix, into) : -1;
    Py_DecRef(prefix);
    return result;
}

void definitions_clear(struct definitions *definitions)
{
    Py_DecRef(definitions->by_qualname);
    Py_DecRef(definitions->by_name);
}

PyObject *definition_holder(PyObject *qualname)
{
    static const char locals[] = ".<locals>";
    const char *text = PyUnicode_AsUTF8(qualname);
    const char *dot = text ? strrchr(text, '.') : NULL;
    size_t length = dot ? (size_t)(dot - text) : 0, n = sizeof locals - 1;

    if (!dot)
        return NULL;
    if (length > n && strncmp(dot - n, locals, n) == 0)
        length -= n;
    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)length);
}

bool definitions_hold(const struct definitions *definitions, PyObject *qualname)
{
    PyObject *holder = definition_holder(qualname);
    bool exists = !holder || dict_lookup(definitions->by_qualname, holder);

    Py_DecRef(holder);
    return exists && !PyErr_Occurred();
}

const char *definitions_kind(const struct definitions *definitions, PyObject *qualname,
                             PyObject *code)
{
    PyObject *holder = definition_holder(qualname);
    PyObject *codes = holder ? dict_lookup(definitions->by_qualname, holder) : NULL;
    const char *kind = "function";

    if (stale_is_function(code) == 0)
        kind = "class";
    else if (codes && stale_is_function(PyList_GetItem(codes, 0)) == 0)
        kind = "method";
    Py_DecRef(holder);
    return kind;
}

/* Comparing code, definition by definition; stale_code.h. */
#include "stale_code.h"

#include <string.h>

#include "cpython/version.h"
#include "stale_live.h"

/* Include/cpython/code.h (to 3.8 Include/code.h), the same in 3.8 to 3.15. */
#define CO_NEWLOCALS 0x2            /* a class body has it not */
#define CO_ITERABLE_COROUTINE 0x100 /* types.coroutine sets it in a copy of the code */

static int same_constant(PyObject *old, PyObject *new_, bool *moved);

static bool is_code(PyObject *object)
{
    return type_of(object) == &PyCode_Type;
}

/* New reference to a str. */
static PyObject *code_name(PyObject *code)
{
    return PyObject_GetAttrString(code, "co_name");
}

static bool is_anonymous(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    return text && *text == '<';
}

/* co_flags, or -1 with an exception. */
static long code_flags(PyObject *code)
{
    PyObject *flags = PyObject_GetAttrString(code, "co_flags");
    long value = flags ? PyLong_AsLong(flags) : -1;

    Py_DecRef(flags);
    return value;
}

static int is_function_body(PyObject *code)
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
    PyObject *a = code_name(old), *b = a ? code_name(new_) : NULL;
    int same = b ? PyUnicode_Compare(a, b) == 0 : -1;

    if (same == 1 && is_anonymous(a))
        same = stale_same_code(old, new_, moved);
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

/* Where each instruction stands in the source: co_linetable is of 3.10, co_lnotab warns from
 * 3.12 on. */
static int same_lines(PyObject *old, PyObject *new_)
{
    int same = same_attribute(old, new_, "co_firstlineno");

    if (same == 1)
        same = same_attribute(old, new_, cpython_minor() >= 10 ? "co_linetable" : "co_lnotab");
    return same;
}

int stale_same_code(PyObject *old, PyObject *new_, bool *moved)
{
    static const char *const attributes[] = {
        "co_code", "co_names",    "co_varnames",        "co_freevars",       "co_cellvars",
        "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount",
    };
    bool nested_moved = false;

    if (old == new_)
        return 1;
    int same = same_flags(old, new_);
    for (size_t i = 0; same == 1 && i < sizeof attributes / sizeof *attributes; i++)
        same = same_attribute(old, new_, attributes[i]);
    if (same == 1 && cpython_minor() >= 11)
        same = same_attribute(old, new_, "co_exceptiontable");
    if (same == 1)
        same = same_constants(old, new_, &nested_moved);
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

static int collect_one(PyObject *code, PyObject *prefix, struct definitions *into)
{
    PyObject *name = code_name(code);
    PyObject *qualified = NULL, *inner = NULL;
    int result = -1, function = name ? is_function_body(code) : -1;

    if (function < 0 || add_code(into->by_name, name, code) < 0)
        goto out;
    /* Lambdas and comprehensions belong to what holds them; so do type parameters, whose code
     * holds the definition itself. */
    if (is_anonymous(name)) {
        result = collect(code, prefix, into);
        goto out;
    }
    qualified = PyUnicode_FromFormat("%U%U", prefix, name);
    inner = qualified ? PyUnicode_FromFormat(function ? "%U.<locals>." : "%U.", qualified) : NULL;
    if (inner && add_code(into->by_qualname, qualified, code) == 0)
        result = collect(code, inner, into);
out:
    Py_DecRef(name);
    Py_DecRef(qualified);
    Py_DecRef(inner);
    return result;
}

static int collect(PyObject *code, PyObject *prefix, struct definitions *into)
{
    PyObject *constants = PyObject_GetAttrString(code, "co_consts");
    int result = constants ? 0 : -1;

    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_Size(constants); i++) {
        PyObject *constant = PyTuple_GetItem(constants, i);
        if (is_code(constant))
            result = collect_one(constant, prefix, into);
    }
    Py_DecRef(constants);
    return result;
}

int definitions_of(PyObject *module_code, struct definitions *into)
{
    PyObject *prefix = PyUnicode_FromString("");
    int result = -1;

    into->by_qualname = PyDict_New();
    into->by_name = PyDict_New();
    if (prefix && into->by_qualname && into->by_name)
        result = collect(module_code, prefix, into);
    Py_DecRef(prefix);
    return result;
}

void definitions_clear(struct definitions *definitions)
{
    Py_DecRef(definitions->by_qualname);
    Py_DecRef(definitions->by_name);
}

/* --- live functions */

static int report(struct comparison *comparison, PyObject *name, const char *change,
                  const char *kind)
{
    PyObject *entry =
        Py_BuildValue("{s:O,s:s,s:s}", "name", name, "change", change, "kind", kind);
    int result = entry ? PyList_Append(comparison->changes, entry) : -1;

    Py_DecRef(entry);
    return result;
}

/* Is one of `codes` (NULL: none) the same as `code`?  `moved` is set if none of those is on the
 * same lines. */
static int find_same(PyObject *codes, PyObject *code, bool *moved)
{
    bool found = false;

    for (Py_ssize_t i = 0; codes && i < PyList_Size(codes); i++) {
        bool lines = false;
        int same = stale_same_code(code, PyList_GetItem(codes, i), &lines);
        if (same < 0 || (same && !lines))
            return same;
        found |= same;
    }
    *moved |= found;
    return found;
}

/* Code made by exec (dataclasses, namedtuple, attrs) is not of the source. */
static int is_of_file(PyObject *code, PyObject *module_code)
{
    PyObject *a = PyObject_GetAttrString(code, "co_filename");
    PyObject *b = a ? PyObject_GetAttrString(module_code, "co_filename") : NULL;
    const char *file = a ? PyUnicode_AsUTF8(a) : NULL, *other = b ? PyUnicode_AsUTF8(b) : NULL;
    int result = -1;

    if (file && other) {
        /* The path may be spelled differently: `python3 script.py` runs "script.py". */
        const char *base = strrchr(file, '/'), *other_base = strrchr(other, '/');
        result = *file != '<' && strcmp(base ? base : file, other_base ? other_base : other) == 0;
    }
    Py_DecRef(a);
    Py_DecRef(b);
    return result;
}

/* The name that the compiler gave the function; __qualname__ is often copied from another one
 * (functools.wraps), and code has its own from 3.11 on.  New reference. */
static PyObject *qualname_of(PyObject *function, PyObject *code)
{
    if (cpython_minor() >= 11)
        return PyObject_GetAttrString(code, "co_qualname");
    return PyObject_GetAttrString(function, "__qualname__");
}

static int compare_function(PyObject *function, PyObject *disk, struct definitions *definitions,
                            struct comparison *comparison)
{
    PyObject *code = PyFunction_GetCode(function);
    PyObject *name = code_name(code), *qualname = qualname_of(function, code);
    int result = name && qualname ? is_of_file(code, disk) : -1;
    bool elsewhere;

    if (result == 1) {
        PyObject *codes = PyDict_GetItemWithError(definitions->by_qualname, qualname);
        PyObject *namesakes = PyDict_GetItemWithError(definitions->by_name, name);
        int same = PyErr_Occurred() ? -1 : find_same(codes, code, &comparison->lines_moved);
        if (same == 0)
            same = find_same(namesakes, code, &elsewhere);
        if (same == 0)
            same = report(comparison, qualname, codes ? "changed" : "removed", "function");
        result = same < 0 ? -1 : 0;
    }
    Py_DecRef(name);
    Py_DecRef(qualname);
    return result;
}

int stale_compare_live(PyObject *dict, PyObject *disk, struct comparison *comparison)
{
    struct definitions definitions;
    int result = definitions_of(disk, &definitions);
    PyObject *functions = result == 0 ? live_functions(dict) : NULL;

    result = functions ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_Size(functions); i++)
        result = compare_function(PyList_GetItem(functions, i), disk, &definitions, comparison);
    Py_DecRef(functions);
    definitions_clear(&definitions);
    return result;
}

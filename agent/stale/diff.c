/* Comparing two versions of a module's code (diff.h): definitions by qualified name,
 * then the bodies of the module and of its classes, statement by statement. */
#include "diff.h"

#include <string.h>

#include "code.h"
#include "cpython/introspect.h"
#include "source/initialiser.h"

/* --- the list of changes */

int comparison_init(struct comparison *comparison)
{
    *comparison = (struct comparison){.changes = PyList_New(0), .names = PyDict_New()};
    return comparison->changes && comparison->names ? 0 : -1;
}

void comparison_clear(struct comparison *comparison)
{
    Py_DecRef(comparison->changes);
    Py_DecRef(comparison->names);
}

/* Notes the name, and "C", "f" and "f.<locals>" for "C.m" and "f.<locals>.g". */
static int note_name(struct comparison *comparison, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name), *dot = text;
    int result = text ? PyDict_SetItem(comparison->names, name, Py_True) : -1;

    while (result == 0 && (dot = strchr(dot, '.'))) {
        PyObject *holder = PyUnicode_FromStringAndSize(text, dot++ - text);
        if (!holder)
            result = -1;
        else if (!dict_lookup(comparison->names, holder))
            result = PyDict_SetItem(comparison->names, holder, Py_False);
        Py_DecRef(holder);
    }
    return result;
}

int changes_add(struct comparison *comparison, PyObject *name, const char *change, const char *kind)
{
    PyObject *entry;
    int result;

    if (dict_lookup(comparison->names, name) == Py_True)
        return 0;
    entry = Py_BuildValue("{s:O,s:s,s:s}", "name", name, "change", change, "kind", kind);
    result = entry ? PyList_Append(comparison->changes, entry) : -1;
    Py_DecRef(entry);
    return result == 0 ? note_name(comparison, name) : result;
}

/* Is `name` in the list, or something within it?  "" is the module. */
static bool is_reported(const struct comparison *comparison, PyObject *name)
{
    return PyUnicode_GetLength(name) == 0 ? PyList_Size(comparison->changes) > 0
                                          : dict_lookup(comparison->names, name) != NULL;
}

/* --- definitions */

/* Definitions that share a name (a property's functions, overloads, branches of an `if`) are
 * compared in their order. */
static int compare_codes(PyObject *old, PyObject *new_, bool *moved)
{
    Py_ssize_t n = PyList_Size(old);
    int same = n == PyList_Size(new_);

    for (Py_ssize_t i = 0; same == 1 && i < n; i++) {
        PyObject *a = PyList_GetItem(old, i), *b = PyList_GetItem(new_, i);
        int function = stale_is_function(a), other = function < 0 ? -1 : stale_is_function(b);
        if (function < 0 || other < 0 || function != other)
            return function < 0 || other < 0 ? -1 : 0;
        if (function)
            same = stale_same_code(a, b, moved);
    }
    return same;
}

static int compare_definitions(const struct definitions *old, const struct definitions *new_,
                               struct comparison *comparison)
{
    PyObject *name, *codes;
    Py_ssize_t position = 0;
    int result = 0;

    while (result == 0 && PyDict_Next(new_->by_qualname, &position, &name, &codes)) {
        PyObject *before = dict_lookup(old->by_qualname, name);
        const char *kind = definitions_kind(new_, name, PyList_GetItem(codes, 0));
        int same = before ? compare_codes(before, codes, &comparison->lines_moved) : 1;
        if (same < 0)
            result = -1;
        else if (!before && definitions_hold(old, name))
            result = changes_add(comparison, name, "added", kind);
        else if (!same)
            result = changes_add(comparison, name, "changed", kind);
    }
    position = 0;
    while (result == 0 && PyDict_Next(old->by_qualname, &position, &name, &codes)) {
        if (!dict_lookup(new_->by_qualname, name) && definitions_hold(new_, name))
            result = changes_add(comparison, name, "removed",
                                 definitions_kind(old, name, PyList_GetItem(codes, 0)));
    }
    return result;
}

/* --- bodies */

/* What the compiler stores of its own accord; __static_attributes__ follows from the methods. */
static bool is_compilers(PyObject *name)
{
    static const char *const names[] = {
        "__module__",      "__qualname__",          "__firstlineno__",
        "__annotations__", "__static_attributes__", "__classdictcell__",
        "__annotate__",    "__annotate_func__",     "__conditional_annotations__",
        "__classcell__",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_is(name, names[i]))
            return true;
    }
    return false;
}

static const char *binding_kind(const struct binding *binding, bool module)
{
    switch (binding->kind) {
    case BINDS_FUNCTION:
        return module ? "function" : "method";
    case BINDS_CLASS:
        return "class";
    case BINDS_IMPORT:
        return "import";
    case BINDS_DECORATED:
        if (binding->body && stale_is_function(binding->body) == 0)
            return "class";
        return module ? "function" : "method";
    default:
        return module ? "constant" : "attribute";
    }
}

/* In the body of class C, "_C__x" is what "__x" was compiled to: the part from "__x" on. */
static const char *unmangled(const char *name, const char *prefix)
{
    size_t length = strlen(prefix), start;

    if (!length || *name != '_')
        return name;
    length--; /* the dot */
    for (start = length; start && prefix[start - 1] != '.'; start--)
        ;
    while (start < length && prefix[start] == '_')
        start++;
    length -= start;
    if (strncmp(name + 1, prefix + start, length) == 0 && strncmp(name + 1 + length, "__", 2) == 0)
        return name + 1 + length;
    return name;
}

PyObject *binding_qualname(const struct binding *binding, PyObject *prefix)
{
    const char *before = PyUnicode_AsUTF8(prefix), *name = PyUnicode_AsUTF8(binding->name);

    return before && name ? PyUnicode_FromFormat("%s%s", before, unmangled(name, before)) : NULL;
}

/* One name that `body` binds and `other` may bind too. */
static int compare_binding(const struct body *body, const struct body *other, PyObject *prefix,
                           PyObject *name, bool added, struct comparison *comparison)
{
    const struct binding *binding = body_binding(body, name);
    const char *kind = binding_kind(binding, PyUnicode_GetLength(prefix) == 0);
    bool both = body_binds(other, name);
    PyObject *qualname = binding_qualname(binding, prefix);
    int same = -1, result = -1;

    /* A definition that was found to differ is not compared once more. */
    if (qualname)
        same = is_reported(comparison, qualname) ? 1 : both ? body_same(other, body, name) : 0;
    if (same == 0)
        result = changes_add(comparison, qualname,
                             both    ? "changed"
                             : added ? "added"
                                     : "removed",
                             kind);
    else if (same == 1)
        result = 0;
    Py_DecRef(qualname);
    return result;
}

/* Each name that `body` binds; with `added`, names that both bind are compared. */
static int compare_bindings(const struct body *body, const struct body *other, PyObject *prefix,
                            bool added, struct comparison *comparison)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < body->n; i++) {
        PyObject *name = body->bindings[i].name;
        bool last = body_binding(body, name) == &body->bindings[i];
        if (last && !is_compilers(name) && (added || !body_binds(other, name)))
            result = compare_binding(body, other, prefix, name, added, comparison);
    }
    return result;
}

static bool stores(const struct bytecode *code, size_t i, const char *name)
{
    return i < code->n && code->at[i].kind == OP_STORE_NAME && code->at[i].name &&
           str_is(code->at[i].name, name);
}

static bool both_code(PyObject *a, PyObject *b)
{
    return a && b && type_of(a) == &PyCode_Type && type_of(b) == &PyCode_Type;
}

/* Do the bodies do the same, apart from what their definitions do? */
static int same_statements(const struct bytecode *old, const struct bytecode *new_)
{
    bool moved;
    int same = old->n == new_->n;

    for (size_t i = 0; same == 1 && i < old->n; i++) {
        PyObject *a = old->at[i].value, *b = new_->at[i].value;
        if (both_code(a, b)) {
            PyObject *x = stale_code_name(a), *y = x ? stale_code_name(b) : NULL;
            same = y ? PyUnicode_Compare(x, y) == 0 : -1;
            if (same == 1 && stale_is_anonymous(x))
                same = stale_same_code(a, b, &moved);
            Py_DecRef(x);
            Py_DecRef(y);
        } else if (!stores(old, i + 1, "__static_attributes__") ||
                   !stores(new_, i + 1, "__static_attributes__")) {
            same = bytecode_same(old, i, new_, i, 1);
        }
    }
    return same;
}

/* The body of the module (prefix "") or of a class ("Outer.Class."). */
static int compare_bodies(PyObject *old_code, PyObject *new_code, PyObject *prefix, PyObject *name,
                          const char *kind, struct comparison *comparison)
{
    struct body old = {0}, new_ = {0};
    bool module = PyUnicode_GetLength(prefix) == 0;
    int result = body_read(old_code, &old), same;

    if (result == 0)
        result = body_read(new_code, &new_);
    if (result == 0)
        result = compare_bindings(&new_, &old, prefix, true, comparison);
    if (result == 0)
        result = compare_bindings(&old, &new_, prefix, false, comparison);
    if (result == 0 && !is_reported(comparison, module ? prefix : name)) {
        same = same_statements(&old.code, &new_.code);
        if (same == 0)
            same = changes_add(comparison, name, "changed", kind);
        result = same < 0 ? -1 : 0;
    }
    body_clear(&old);
    body_clear(&new_);
    return result;
}

static int compare_classes(const struct definitions *old, const struct definitions *new_,
                           struct comparison *comparison)
{
    PyObject *name, *codes;
    Py_ssize_t position = 0;
    int result = 0;

    while (result == 0 && PyDict_Next(new_->by_qualname, &position, &name, &codes)) {
        PyObject *before = dict_lookup(old->by_qualname, name);
        Py_ssize_t n = before ? PyList_Size(codes) : 0;
        for (Py_ssize_t i = 0; result == 0 && i < n && i < PyList_Size(before); i++) {
            PyObject *a = PyList_GetItem(before, i), *b = PyList_GetItem(codes, i);
            PyObject *prefix;
            if (stale_is_function(a) || stale_is_function(b))
                continue;
            prefix = PyUnicode_FromFormat("%U.", name);
            result = prefix ? compare_bodies(a, b, prefix, name, "class", comparison) : -1;
            Py_DecRef(prefix);
        }
    }
    return result;
}

/* The module's own statements go by the name that tracebacks give them. */
static int compare_module(PyObject *old, PyObject *new_, struct comparison *comparison)
{
    PyObject *prefix = PyUnicode_FromString(""), *name = PyUnicode_FromString("<module>");
    int result = -1;

    if (prefix && name)
        result = compare_bodies(old, new_, prefix, name, "module", comparison);
    Py_DecRef(prefix);
    Py_DecRef(name);
    return result;
}

int stale_compare_code(PyObject *loaded, PyObject *disk, struct comparison *comparison)
{
    struct definitions old = {0}, new_ = {0};
    int result = 0;

    if (loaded == disk)
        return 0;
    if (definitions_of(loaded, &old) < 0 || definitions_of(disk, &new_) < 0)
        result = -1;
    if (result == 0)
        result = compare_definitions(&old, &new_, comparison);
    if (result == 0)
        result = compare_classes(&old, &new_, comparison);
    if (result == 0)
        result = compare_module(loaded, disk, comparison);
    definitions_clear(&old);
    definitions_clear(&new_);
    return result;
}

/* Names; names.h. */
#include "names.h"

#include <string.h>

#include "code.h"
#include "cpython/introspect.h"
#include "cpython/version.h"
#include "source.h"
#include "source/source.h"

/* How far a decorator's object is searched for the function that it stands for. */
enum { MAX_DEPTH = 6 };

/* --- names */

bool same_text(PyObject *a, PyObject *b)
{
    return a && b && is_str(a) && is_str(b) && PyUnicode_Compare(a, b) == 0;
}

bool name_is_local(PyObject *qualname)
{
    const char *text = PyUnicode_AsUTF8(qualname);

    PyErr_Clear();
    return !text || strchr(text, '<');
}

PyObject *function_qualname(PyObject *function)
{
    PyObject *code = PyFunction_GetCode(function);
    PyObject *name =
        builtin_attribute(code, &PyCode_Type, cpython_minor() >= 11 ? "co_qualname" : "co_name");
    PyObject *qualname = builtin_attribute(function, &PyFunction_Type, "__qualname__");
    const char *text = qualname ? PyUnicode_AsUTF8(qualname) : NULL;
    const char *dot = text ? strrchr(text, '.') : NULL;
    bool own = text && name && is_str(name);

    if (own && cpython_minor() >= 11)
        own = same_text(name, qualname);
    else if (own)
        own = PyUnicode_CompareWithASCIIString(name, dot ? dot + 1 : text) == 0;
    Py_DecRef(name);
    PyErr_Clear();
    if (own && !name_is_local(qualname))
        return qualname;
    Py_DecRef(qualname);
    return NULL;
}

PyObject *class_qualname(PyObject *class)
{
    PyObject *name = builtin_attribute(class, &PyType_Type, "__qualname__");

    if (name && is_str(name) && !name_is_local(name))
        return name;
    Py_DecRef(name);
    return NULL;
}

bool class_is_written_in_c(PyObject *class)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(class_dict(class), &position, &name, &value)) {
        if (type_of(value) == &PyMethodDescr_Type || type_of(value) == &PyWrapperDescr_Type)
            return true;
    }
    return false;
}

PyObject *module_dict(PyObject *name)
{
    PyObject *module = name && is_str(name) ? dict_lookup(PyImport_GetModuleDict(), name) : NULL;

    return module && is_module(module) ? PyModule_GetDict(module) : NULL;
}

PyObject *name_look_up(PyObject *namespace, PyObject *class_name, PyObject *name)
{
    PyObject *value = dict_lookup(namespace, name), *mangled;
    const char *text = PyUnicode_AsUTF8(name), *class = NULL;

    if (value || !class_name || !text || strncmp(text, "__", 2) != 0) {
        drop_error();
        return value;
    }
    class = PyUnicode_AsUTF8(class_name);
    mangled = class ? PyUnicode_FromFormat("_%s%s", class + strspn(class, "_"), text) : NULL;
    value = mangled ? dict_lookup(namespace, mangled) : NULL;
    Py_DecRef(mangled);
    PyErr_Clear();
    return value;
}

PyObject *name_resolve(PyObject *dict, PyObject *qualname)
{
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *parts = dot ? PyUnicode_Split(qualname, dot, -1) : NULL;
    PyObject *namespace = dict, *found = NULL;
    Py_ssize_t n = parts ? PyList_Size(parts) : 0;

    for (Py_ssize_t i = 0; namespace && i < n; i++) {
        found = name_look_up(namespace, i ? PyList_GetItem(parts, i - 1) : NULL,
                             PyList_GetItem(parts, i));
        namespace = found && is_heap_class(found) ? class_dict(found) : NULL;
        if (!namespace && i + 1 < n)
            found = NULL;
    }
    Py_DecRef(dot);
    Py_DecRef(parts);
    PyErr_Clear();
    return found;
}

/* --- what a name stands for */

static int note_within(PyObject *object, void *arg)
{
    struct within *within = arg;
    PyTypeObject *type;

    if (!object || within->n == MAX_WITHIN)
        return 0;
    type = type_of(object);
    if (!type_has(type, Py_TPFLAGS_HAVE_GC) || is_type(object) ||
        PyType_IsSubtype(type, &PyModule_Type) || type == &PyFrame_Type ||
        (is_dict(object) && dict_get(object, "__builtins__")))
        return 0;
    for (size_t i = 0; i < within->n; i++) {
        if (within->items[i] == object)
            return 0;
    }
    within->items[within->n++] = object;
    return 0;
}

static void enter(struct within *within, PyObject *object)
{
    PyTypeObject *type = type_of(object);
    int (*is_gc)(PyObject *) = (int (*)(PyObject *))type->tp_is_gc;

    if (type->tp_traverse && (!is_gc || is_gc(object)))
        type->tp_traverse(object, note_within, within);
}

void look_within(struct within *within, PyObject *object)
{
    size_t at = 0;

    within->n = 0;
    note_within(object, within);
    for (int depth = 0; depth < MAX_DEPTH && at < within->n; depth++) {
        for (size_t level = within->n; at < level; at++)
            enter(within, within->items[at]);
    }
}

PyObject *other_function(PyObject *value, PyObject *code, PyObject *module, PyObject *qualname)
{
    struct within within;
    PyObject *other = NULL;

    look_within(&within, value);
    for (size_t i = 0; i < within.n; i++) {
        PyObject *function = within.items[i], *name;
        if (type_of(function) != &PyFunction_Type)
            continue;
        if (PyFunction_GetCode(function) == code)
            return NULL;
        name = function_qualname(function);
        if (same_text(name, qualname) &&
            same_text(dict_get(PyFunction_GetGlobals(function), "__name__"), module))
            other = function;
        Py_DecRef(name);
    }
    return other;
}

/* --- in the source */

/* The definitions in the module's source, by qualified name; empty where it cannot be read.  New
 * reference, or NULL without an exception. */
static PyObject *read_definitions(PyObject *module_name)
{
    PyObject *module = dict_lookup(PyImport_GetModuleDict(), module_name), *names;
    struct source source = {0};
    struct codes codes = {0};
    struct definitions definitions = {0};

    if (module && source_read(&source, module_name, module) == 0 && source.state == SOURCE_READ &&
        codes_read_disk(module, &source, &codes) == 0)
        definitions_of(codes.disk, &definitions);
    PyErr_Clear();
    names = definitions.by_qualname;
    Py_IncRef(names);
    definitions_clear(&definitions);
    codes_clear(&codes);
    source_clear(&source);
    return names ? names : PyDict_New();
}

Py_ssize_t name_count_in_source(PyObject *sources, PyObject *module_name, PyObject *qualname)
{
    PyObject *names = dict_lookup(sources, module_name), *codes;
    Py_ssize_t n = 1;

    if (names)
        Py_IncRef(names);
    else if ((names = read_definitions(module_name)))
        PyDict_SetItem(sources, module_name, names);
    codes = names ? dict_lookup(names, qualname) : NULL;
    if (codes)
        n = PyList_Size(codes);
    PyErr_Clear();
    Py_DecRef(names);
    return n;
}

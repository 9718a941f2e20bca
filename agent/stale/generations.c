/* Finding old generations; generations.h. */
#include "generations.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "code.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "cpython/version.h"
#include "remap/remap.h"
#include "source.h"
#include "source/source.h"

/* How far a decorator's object is searched for the function that it stands for. */
enum { MAX_WITHIN = 128, MAX_DEPTH = 6 };

/* --- names */

static bool same_text(PyObject *a, PyObject *b)
{
    return a && b && is_str(a) && is_str(b) && PyUnicode_Compare(a, b) == 0;
}

/* A name that no module or class has: of a local definition or a lambda. */
static bool is_unreachable(PyObject *qualname)
{
    const char *text = PyUnicode_AsUTF8(qualname);

    PyErr_Clear();
    return !text || strchr(text, '<');
}

/* The function's qualified name, if it is the one that its code was compiled under and not one
 * copied from another function.  New reference, or NULL without an exception. */
static PyObject *function_qualname(PyObject *function)
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
    if (own && !is_unreachable(qualname))
        return qualname;
    Py_DecRef(qualname);
    return NULL;
}

static PyObject *class_qualname(PyObject *class)
{
    PyObject *name = builtin_attribute(class, &PyType_Type, "__qualname__");

    if (name && is_str(name) && !is_unreachable(name))
        return name;
    Py_DecRef(name);
    return NULL;
}

/* The live dict of the module: borrowed, or NULL. */
static PyObject *module_dict(PyObject *name)
{
    PyObject *module = name && is_str(name) ? dict_lookup(PyImport_GetModuleDict(), name) : NULL;

    return module && PyType_IsSubtype(type_of(module), &PyModule_Type) ? PyModule_GetDict(module)
                                                                       : NULL;
}

/* namespace[name], where a class's private names are mangled: borrowed, or NULL. */
static PyObject *look_up(PyObject *namespace, PyObject *class_name, PyObject *name)
{
    PyObject *value = dict_lookup(namespace, name), *mangled;
    const char *text = PyUnicode_AsUTF8(name), *class = NULL;

    if (value || !class_name || !text || strncmp(text, "__", 2) != 0)
        return value;
    class = PyUnicode_AsUTF8(class_name);
    mangled = class ? PyUnicode_FromFormat("_%s%s", class + strspn(class, "_"), text) : NULL;
    value = mangled ? dict_lookup(namespace, mangled) : NULL;
    Py_DecRef(mangled);
    PyErr_Clear();
    return value;
}

/* What the qualified name leads to from the module's dict: borrowed, or NULL. */
static PyObject *resolve(PyObject *dict, PyObject *qualname)
{
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *parts = dot ? PyUnicode_Split(qualname, dot, -1) : NULL;
    PyObject *namespace = dict, *found = NULL;
    Py_ssize_t n = parts ? PyList_Size(parts) : 0;

    for (Py_ssize_t i = 0; namespace && i < n; i++) {
        found =
            look_up(namespace, i ? PyList_GetItem(parts, i - 1) : NULL, PyList_GetItem(parts, i));
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

/* What is within the object that a name leads to: itself, and what decorators left of it. */
struct within {
    PyObject *items[MAX_WITHIN]; /* borrowed */
    size_t n;
};

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

static void look_within(struct within *within, PyObject *object)
{
    size_t at = 0;

    within->n = 0;
    note_within(object, within);
    for (int depth = 0; depth < MAX_DEPTH && at < within->n; depth++) {
        for (size_t level = within->n; at < level; at++)
            enter(within, within->items[at]);
    }
}

/* The function of the same name within `value` that is of another generation than `code`:
 * borrowed; NULL if there is none, or one that runs `code` itself. */
static PyObject *other_function(PyObject *value, PyObject *code, PyObject *qualname)
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
        if (same_text(name, qualname))
            other = function;
        Py_DecRef(name);
    }
    return other;
}

static bool inherits(PyObject *class, PyObject *base)
{
    return PyType_IsSubtype((PyTypeObject *)class, (PyTypeObject *)base);
}

/* Do two classes have a method's code in common?  Then one was made from the other by a decorator
 * (dataclass(slots=True), attrs, six.add_metaclass), not by executing the source again. */
static bool share_code(PyObject *a, PyObject *b)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(class_dict(a), &position, &name, &value)) {
        PyObject *other = dict_lookup(class_dict(b), name);
        if (type_of(value) == &PyFunction_Type && other && type_of(other) == &PyFunction_Type &&
            PyFunction_GetCode(value) == PyFunction_GetCode(other))
            return true;
    }
    return false;
}

/* Is it an attribute of the class, as ctypes' types of the other byte order are? */
static bool is_attribute_of(PyObject *class, PyObject *value)
{
    PyObject *name, *attribute;
    Py_ssize_t position = 0;

    while (PyDict_Next(class_dict(class), &position, &name, &attribute)) {
        if (attribute == value)
            return true;
    }
    return false;
}

static bool is_other_class(PyObject *class, PyObject *value, PyObject *qualname)
{
    PyObject *name;
    bool other;

    if (!value || value == class || !is_heap_class(value) || inherits(value, class) ||
        inherits(class, value) || share_code(class, value) || is_attribute_of(value, class) ||
        !same_text(dict_get(class_dict(class), "__module__"),
                   dict_get(class_dict(value), "__module__")))
        return false;
    name = class_qualname(value);
    other = same_text(name, qualname);
    Py_DecRef(name);
    return other;
}

/* --- candidates */

struct heap_search {
    struct generations *found;
    PyObject *modules; /* or NULL */
    bool out_of_memory;
};

static void add(struct heap_search *search, PyObject *old, PyObject *current, PyObject *module,
                PyObject *qualname)
{
    struct generations *found = search->found;

    if (found->n == found->cap) {
        size_t cap = found->cap ? found->cap * 2 : 64;
        struct generation *items = realloc(found->items, cap * sizeof *items);
        if (!items) {
            search->out_of_memory = true;
            return;
        }
        found->items = items;
        found->cap = cap;
    }
    PyObject *name = PyUnicode_FromFormat("%U.%U", module, qualname);
    if (!name) {
        search->out_of_memory = true;
        return;
    }
    Py_IncRef(old);
    Py_IncRef(current);
    Py_IncRef(module);
    found->items[found->n++] = (struct generation){old, current, name, module, false};
}

static bool is_wanted(const struct heap_search *search, PyObject *module)
{
    Py_ssize_t n = search->modules ? PyList_Size(search->modules) : 0;

    for (Py_ssize_t i = 0; i < n; i++) {
        if (same_text(PyList_GetItem(search->modules, i), module))
            return true;
    }
    return !search->modules;
}

static void examine_function(struct heap_search *search, PyObject *function)
{
    PyObject *module = dict_get(PyFunction_GetGlobals(function), "__name__");
    PyObject *dict, *qualname, *value, *current;

    if (!is_wanted(search, module) || !(dict = module_dict(module)))
        return;
    qualname = function_qualname(function);
    value = qualname ? resolve(dict, qualname) : NULL;
    if (value && value != function) {
        current = other_function(value, PyFunction_GetCode(function), qualname);
        if (current)
            add(search, function, current, module, qualname);
    }
    Py_DecRef(qualname);
}

static void examine_class(struct heap_search *search, PyObject *class)
{
    PyObject *module = dict_get(class_dict(class), "__module__");
    PyObject *dict, *qualname, *value;

    if (!is_wanted(search, module) || !(dict = module_dict(module)))
        return;
    qualname = class_qualname(class);
    value = qualname ? resolve(dict, qualname) : NULL;
    if (is_other_class(class, value, qualname))
        add(search, class, value, module, qualname);
    Py_DecRef(qualname);
}

/* The objects are collected first: nothing may be allocated while the heap is walked. */
struct definitions_alive {
    PyObject **items;
    size_t n, cap;
    bool out_of_memory;
};

static int note_definition(PyObject *object, void *arg)
{
    struct definitions_alive *alive = arg;

    if (type_of(object) != &PyFunction_Type && !is_heap_class(object))
        return 0;
    if (alive->n == alive->cap) {
        size_t cap = alive->cap ? alive->cap * 2 : 4096;
        PyObject **items = realloc(alive->items, cap * sizeof *items);
        if (!items) {
            alive->out_of_memory = true;
            return 1;
        }
        alive->items = items;
        alive->cap = cap;
    }
    alive->items[alive->n++] = object;
    return 0;
}

static int search_heap(struct heap_search *search)
{
    struct definitions_alive alive = {0};

    heap_visit(note_definition, &alive);
    search->out_of_memory = alive.out_of_memory;
    for (size_t i = 0; i < alive.n && !search->out_of_memory; i++) {
        if (type_of(alive.items[i]) == &PyFunction_Type)
            examine_function(search, alive.items[i]);
        else
            examine_class(search, alive.items[i]);
    }
    free(alive.items);
    if (search->out_of_memory && !PyErr_Occurred())
        PyErr_NoMemory();
    return search->out_of_memory ? -1 : 0;
}

/* --- names that the source defines more than once */

/* How often the source of the module defines the name; 1 where it cannot be read. */
static Py_ssize_t count_in_source(PyObject *module_name, PyObject *qualname)
{
    PyObject *module = dict_lookup(PyImport_GetModuleDict(), module_name), *codes;
    struct source source = {0};
    struct codes both = {0};
    struct definitions definitions = {0};
    Py_ssize_t n = 1;

    if (module && source_read(&source, module_name, module) == 0 && source.state == SOURCE_READ &&
        codes_read(module, &source, &both) == 0 && definitions_of(both.disk, &definitions) == 0) {
        codes = dict_lookup(definitions.by_qualname, qualname);
        n = codes ? PyList_Size(codes) : 1;
    }
    PyErr_Clear();
    definitions_clear(&definitions);
    codes_clear(&both);
    source_clear(&source);
    return n;
}

static bool is_ambiguous(const struct generation *generation)
{
    PyObject *qualname = is_type(generation->old) ? class_qualname(generation->old)
                                                  : function_qualname(generation->old);
    bool ambiguous = qualname && count_in_source(generation->module, qualname) > 1;

    Py_DecRef(qualname);
    return ambiguous;
}

static void drop(struct generation *generation)
{
    Py_DecRef(generation->old);
    Py_DecRef(generation->current);
    Py_DecRef(generation->name);
    Py_DecRef(generation->module);
}

static int by_name(const void *a, const void *b)
{
    return PyUnicode_Compare(((const struct generation *)a)->name,
                             ((const struct generation *)b)->name);
}

int generations_find(struct generations *found, PyObject *modules)
{
    struct heap_search search = {.found = found, .modules = modules};
    size_t kept = 0;
    bool was_on;
    int result;

    memset(found, 0, sizeof *found);
    if (collector_pause(&was_on) < 0)
        return -1;
    result = search_heap(&search);
    collector_resume(was_on);
    if (result < 0)
        return -1;
    for (size_t i = 0; i < found->n; i++) {
        if (is_ambiguous(&found->items[i]))
            drop(&found->items[i]);
        else
            found->items[kept++] = found->items[i];
    }
    found->n = kept;
    if (kept)
        qsort(found->items, kept, sizeof *found->items, by_name);
    return 0;
}

void generations_clear(struct generations *found)
{
    for (size_t i = 0; i < found->n; i++)
        drop(&found->items[i]);
    free(found->items);
    memset(found, 0, sizeof *found);
}

int generation_of_code(PyObject *code, PyObject *globals, PyObject **name)
{
    PyObject *module = dict_get(globals, "__name__"), *dict = module_dict(module), *value;
    PyObject *qualname =
        builtin_attribute(code, &PyCode_Type, cpython_minor() >= 11 ? "co_qualname" : "co_name");
    int result = 0;

    if (dict && qualname && is_str(qualname) && !is_unreachable(qualname)) {
        value = resolve(dict, qualname);
        if (value && other_function(value, code, qualname) &&
            count_in_source(module, qualname) == 1) {
            *name = PyUnicode_FromFormat("%U.%U", module, qualname);
            result = *name ? 1 : -1;
        }
    }
    Py_DecRef(qualname);
    return result;
}

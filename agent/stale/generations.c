/* Finding old generations; generations.h. */
#include "generations.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "names.h"
#include "remap/remap.h"

static bool inherits(PyObject *class, PyObject *base)
{
    return PyType_IsSubtype((PyTypeObject *)class, (PyTypeObject *)base);
}

/* Is the function of the class's own source, or made for it: the wrapper of a library has a
 * closure? What bases and libraries put into each of their classes (Enum.__new__, namedtuple's
 * _make) is not. */
static bool is_own_method(PyObject *class, PyObject *function, PyObject *other)
{
    PyObject *module = dict_get(PyFunction_GetGlobals(function), "__name__");

    return same_text(module, dict_get(class_dict(class), "__module__")) ||
           (function == other && PyFunction_GetClosure(function));
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
            PyFunction_GetCode(value) == PyFunction_GetCode(other) &&
            is_own_method(a, value, other))
            return true;
    }
    return false;
}

/* Two named tuples of one name and with other fields need not be generations of one: a call gives
 * them their name, not their place in the source. */
static bool has_other_fields(PyObject *a, PyObject *b)
{
    PyObject *x = dict_get(class_dict(a), "_fields"), *y = dict_get(class_dict(b), "_fields");
    bool other;

    if (!x || !y || type_of(x) != &PyTuple_Type || type_of(y) != &PyTuple_Type)
        return false;
    other = PyTuple_Size(x) != PyTuple_Size(y);
    for (Py_ssize_t i = 0; !other && i < PyTuple_Size(x); i++)
        other = !same_text(PyTuple_GetItem(x, i), PyTuple_GetItem(y, i));
    return other;
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

/* Is the function one of another source that goes by the same name: of a copy of the module under
 * another name, or of another distribution of it?  What was executed again in the module's own dict
 * is of it, wherever the file is now. */
static bool is_of_other_source(PyObject *function, PyObject *current)
{
    PyObject *a, *b;
    bool other;

    if (PyFunction_GetGlobals(function) == PyFunction_GetGlobals(current))
        return false;
    a = builtin_attribute(PyFunction_GetCode(function), &PyCode_Type, "co_filename");
    b = builtin_attribute(PyFunction_GetCode(current), &PyCode_Type, "co_filename");
    other = a && b && !same_text(a, b);
    Py_DecRef(a);
    Py_DecRef(b);
    return other;
}

/* The same of a class: its methods tell. */
static bool has_other_source(PyObject *class, PyObject *value)
{
    PyObject *name, *method;
    Py_ssize_t position = 0;

    while (PyDict_Next(class_dict(class), &position, &name, &method)) {
        PyObject *other = dict_lookup(class_dict(value), name);
        if (type_of(method) == &PyFunction_Type && other && type_of(other) == &PyFunction_Type &&
            is_of_other_source(method, other))
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
        class_is_written_in_c(value) || has_other_source(class, value) ||
        has_other_fields(class, value) ||
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
    PyObject *modules;  /* or NULL */
    PyObject *pretends; /* list: dicts of modules that go by the name of another one */
    bool out_of_memory;
};

/* Modules that have another's name as `__name__`, beside that one: decimal in Python, which is
 * _pydecimal, or a copy that was imported with other settings.  What they define is theirs.  New
 * reference. */
static PyObject *modules_that_pretend(void)
{
    PyObject *list = PyList_New(0), *name, *module;
    Py_ssize_t position = 0;

    while (list && PyDict_Next(PyImport_GetModuleDict(), &position, &name, &module)) {
        PyObject *dict, *other;

        if (!is_module(module))
            continue;
        dict = PyModule_GetDict(module);
        other = module_dict(dict_get(dict, "__name__"));
        if (other && other != dict && PyList_Append(list, dict) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
    }
    return list;
}

static bool is_of_pretender(const struct heap_search *search, PyObject *object, PyObject *module,
                            PyObject *qualname)
{
    for (Py_ssize_t i = 0; i < PyList_Size(search->pretends); i++) {
        PyObject *dict = PyList_GetItem(search->pretends, i);

        if (same_text(dict_get(dict, "__name__"), module) &&
            (name_resolve(dict, qualname) == object ||
             (type_of(object) == &PyFunction_Type && PyFunction_GetGlobals(object) == dict)))
            return true;
    }
    return false;
}

static void add(struct heap_search *search, PyObject *old, PyObject *current, PyObject *module,
                PyObject *qualname)
{
    struct generations *found = search->found;

    PyObject *name = PyUnicode_FromFormat("%U.%U", module, qualname);
    if (!name || !big_reserve(&found->items, found->n, &found->cap, sizeof *found->items)) {
        Py_DecRef(name);
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
    value = qualname ? name_resolve(dict, qualname) : NULL;
    if (value && value != function) {
        current = other_function(value, PyFunction_GetCode(function), module, qualname);
        if (current && !is_of_other_source(function, current) &&
            !is_of_pretender(search, function, module, qualname))
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
    value = qualname ? name_resolve(dict, qualname) : NULL;
    if (is_other_class(class, value, qualname) && !is_of_pretender(search, class, module, qualname))
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
    if (!big_reserve(&alive->items, alive->n, &alive->cap, sizeof *alive->items)) {
        alive->out_of_memory = true;
        return 1;
    }
    alive->items[alive->n++] = object;
    return 0;
}

static int search_heap(struct heap_search *search)
{
    struct definitions_alive alive = {0};

    if (heap_visit(note_definition, &alive) < 0) {
        big_free(alive.items);
        return -1;
    }
    search->out_of_memory = alive.out_of_memory;
    for (size_t i = 0; i < alive.n && !search->out_of_memory; i++) {
        if (type_of(alive.items[i]) == &PyFunction_Type)
            examine_function(search, alive.items[i]);
        else
            examine_class(search, alive.items[i]);
    }
    big_free(alive.items);
    if (search->out_of_memory && !PyErr_Occurred())
        PyErr_NoMemory();
    return search->out_of_memory ? -1 : 0;
}

/* --- names that the source defines more than once */

static bool is_ambiguous(const struct generation *generation, PyObject *sources)
{
    PyObject *qualname = is_type(generation->old) ? class_qualname(generation->old)
                                                  : function_qualname(generation->old);
    bool ambiguous = qualname && name_count_in_source(sources, generation->module, qualname) > 1;

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
    PyObject *sources;
    size_t kept = 0;
    bool was_on;
    int result;

    memset(found, 0, sizeof *found);
    search.pretends = modules_that_pretend();
    if (!search.pretends || collector_pause(&was_on) < 0) {
        Py_DecRef(search.pretends);
        return -1;
    }
    result = search_heap(&search);
    collector_resume(was_on);
    Py_DecRef(search.pretends);
    sources = result == 0 ? PyDict_New() : NULL;
    if (!sources)
        return -1;
    for (size_t i = 0; i < found->n; i++) {
        if (is_ambiguous(&found->items[i], sources))
            drop(&found->items[i]);
        else
            found->items[kept++] = found->items[i];
    }
    Py_DecRef(sources);
    found->n = kept;
    if (kept)
        qsort(found->items, kept, sizeof *found->items, by_name);
    return 0;
}

void generations_clear(struct generations *found)
{
    for (size_t i = 0; i < found->n; i++)
        drop(&found->items[i]);
    big_free(found->items);
    memset(found, 0, sizeof *found);
}

/* What an execution made (births.h). */
#include "births.h"

#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "remap/remap.h"
#include "source/initialiser.h"

/* --- what the execution made */

static bool is_class_of(PyObject *object, PyObject *module_name)
{
    PyObject *module;

    if (!is_type(object) || !type_has((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE))
        return false;
    module = dict_get(((PyTypeObject *)object)->tp_dict, "__module__");
    return module && is_str(module) && PyUnicode_Compare(module, module_name) == 0;
}

static bool runs_in(PyObject *function, PyObject *dict)
{
    return type_of(function) == &PyFunction_Type && PyFunction_GetGlobals(function) == dict;
}

/* Was the object made by the execution?  Told from what it is made of: a module that the new
 * source imports, or a class from there, was not. */
static bool is_born(PyObject *object, const struct aside *aside)
{
    PyObject *wrapped;
    bool born;

    if (runs_in(object, aside->dict) || is_class_of(object, aside->name) ||
        is_class_of((PyObject *)type_of(object), aside->name))
        return true;
    wrapped = is_type(object) ? NULL : PyObject_GetAttrString(object, "__wrapped__");
    born = wrapped && runs_in(wrapped, aside->dict);
    drop_error();
    Py_DecRef(wrapped);
    return born;
}

/* Is it what others' decorators made of a definition (click's @command), and no object that was
 * there before? */
static bool is_decorated(PyObject *object, PyObject *name, const struct body *body,
                         const struct contents *contents)
{
    const struct binding *binding = body_binding(body, name);

    return binding && binding->kind == BINDS_DECORATED && !is_type(object) &&
           type_has(type_of(object), Py_TPFLAGS_HEAPTYPE) && contents_made_since(contents, object);
}

static bool same_kind(PyObject *a, PyObject *b)
{
    return is_type(a) == is_type(b) &&
           (type_of(a) == &PyFunction_Type) == (type_of(b) == &PyFunction_Type);
}

static int add_birth(struct births *births, PyObject *object, PyObject *module, PyObject *name,
                     PyObject *old)
{
    struct birth birth = {.weak = PyWeakref_NewRef(object, NULL)};

    if (!birth.weak) /* its type has no room for one: cannot be followed */
        return pass_over_error();
    birth.name = PyUnicode_FromFormat("%U.%U", module, name);
    if (!birth.name ||
        big_reserve_or_raise(&births->items, births->n, &births->cap, sizeof birth) < 0) {
        Py_DecRef(birth.weak);
        Py_DecRef(birth.name);
        return -1;
    }
    if (old && old != object && same_kind(old, object)) {
        birth.old = old;
        Py_IncRef(old);
    }
    births->items[births->n++] = birth;
    return 0;
}

/* The functions that a class defines, against those of the class it would have replaced. */
static int note_methods(struct births *births, PyObject *class, PyObject *old_class,
                        const struct aside *aside)
{
    PyObject *dict = ((PyTypeObject *)class)->tp_dict, *name, *value;
    PyObject *old_dict =
        old_class && is_type(old_class) ? ((PyTypeObject *)old_class)->tp_dict : NULL;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(dict, &position, &name, &value)) {
        if (is_str(name) && runs_in(value, aside->dict))
            status = add_birth(births, value, aside->name, name,
                               old_dict ? PyDict_GetItemWithError(old_dict, name) : NULL);
    }
    return status;
}

static int note_module(struct births *births, const struct aside *aside,
                       const struct contents *contents)
{
    PyObject *names = PyDict_Keys(aside->dict);
    struct body body = {0};
    int status = names ? body_read(aside->code, &body) : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *value = PyDict_GetItemWithError(aside->dict, name);
        PyObject *old = PyDict_GetItemWithError(aside->before, name);

        if (!value || value == old || !is_str(name) ||
            (!is_born(value, aside) && !is_decorated(value, name, &body, contents)))
            continue;
        status = add_birth(births, value, aside->name, name, old);
        if (status == 0 && is_type(value))
            status = note_methods(births, value, old, aside);
    }
    body_clear(&body);
    Py_DecRef(names);
    return status;
}

/* --- functions that have no name in the module */

struct functions {
    const struct births *births;
    PyObject **items; /* strong */
    size_t n, cap;
};

static int collect_function(PyObject *object, void *arg)
{
    struct functions *functions = arg;

    for (size_t i = 0; i < functions->births->n_dicts; i++) {
        if (!runs_in(object, functions->births->dicts[i]))
            continue;
        if (big_reserve_or_raise(&functions->items, functions->n, &functions->cap,
                                 sizeof *functions->items) < 0)
            return -1;
        Py_IncRef(object);
        functions->items[functions->n++] = object;
    }
    return 0;
}

static int note_function(struct births *births, PyObject *function)
{
    PyObject *module = PyObject_GetAttrString(function, "__module__");
    PyObject *name = PyObject_GetAttrString(function, "__qualname__");
    int status;

    if (module && name && is_str(module) && is_str(name))
        status = add_birth(births, function, module, name, NULL);
    else
        status = pass_over_error();
    Py_DecRef(module);
    Py_DecRef(name);
    return status;
}

/* Lambdas, closures, functions that a decorator took away. */
static int note_functions(struct births *births)
{
    struct functions functions = {.births = births};
    struct pointer_set noted = {0};
    int status = 0;

    for (size_t i = 0; status == 0 && i < births->n; i++)
        status = pointer_set_add(&noted, weakref_target(births->items[i].weak));
    if (status == 0)
        status = heap_visit(collect_function, &functions);
    for (size_t i = 0; i < functions.n; i++) {
        if (status == 0 && !pointer_set_has(&noted, functions.items[i]))
            status = note_function(births, functions.items[i]);
        Py_DecRef(functions.items[i]);
    }
    big_free(functions.items);
    pointer_set_clear(&noted);
    return status;
}

int births_note(struct births *births, const struct execution *e, const struct contents *contents)
{
    births->dicts = calloc(e->n_executed + 1, sizeof *births->dicts);
    births->n_dicts = 0;
    if (!births->dicts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < e->n_executed; i++) {
        births->dicts[births->n_dicts++] = e->modules[i].dict;
        if (note_module(births, &e->modules[i], contents) < 0)
            return -1;
    }
    return note_functions(births);
}

/* --- what is still there */

Py_ssize_t births_hold_survivors(struct births *births)
{
    Py_ssize_t n = 0;

    if (collector_collect() < 0)
        return -1;
    for (size_t i = 0; i < births->n; i++) {
        struct birth *birth = &births->items[i];

        birth->alive = PyObject_CallObject(birth->weak, NULL);
        if (!birth->alive)
            return -1;
        if (birth->alive == Py_None) {
            Py_DecRef(birth->alive);
            birth->alive = NULL;
        }
        if (birth->alive && pointer_set_add(&births->held, birth->alive) < 0)
            return -1;
        n += birth->alive != NULL;
    }
    return n;
}

void births_let_go(struct births *births)
{
    for (size_t i = 0; i < births->n; i++) {
        Py_DecRef(births->items[i].alive);
        births->items[i].alive = NULL;
    }
    pointer_set_clear(&births->held);
}

const struct birth *find_birth(const struct births *births, PyObject *object)
{
    for (size_t i = 0; pointer_set_has(&births->held, object) && i < births->n; i++) {
        if (births->items[i].alive == object)
            return &births->items[i];
    }
    return NULL;
}

bool is_birth(const struct births *births, PyObject *object)
{
    return find_birth(births, object) || find_birth(births, (PyObject *)type_of(object));
}

bool is_stray(const struct births *births, PyObject *object)
{
    const struct birth *birth = find_birth(births, object);

    return birth ? !birth->old : find_birth(births, (PyObject *)type_of(object)) != NULL;
}

void births_clear(struct births *births)
{
    births_let_go(births);
    for (size_t i = 0; i < births->n; i++) {
        Py_DecRef(births->items[i].weak);
        Py_DecRef(births->items[i].name);
        Py_DecRef(births->items[i].old);
    }
    big_free(births->items);
    free(births->dicts);
    memset(births, 0, sizeof *births);
}

/* Pairing functions by their place in the source, wherever they are held: behind decorators,
 * in registries, in closures made at run time, put aside by a test double.
 *
 * Code objects of the old source are found in its module code by equality, those of the new
 * one by identity.  When the old source is not known, or a function is of a generation before
 * it, the qualified name decides if it is unique. */
#include <string.h>

#include "big.h"
#include "data.h"
#include "pairing.h"

/* All functions that run in the dict of a module of the transaction. */
struct functions {
    const struct pairing *pairing;
    PyObject **at; /* strong */
    size_t n, cap;
    bool failed;
    PyObject *by_code; /* dict: address of a code object -> its only function, or None */
};

static int add_place(PyObject *places, PyObject *qualname, PyObject *code)
{
    PyObject *list = dict_lookup(places, qualname);
    int status;

    if (list)
        return PyList_Append(list, code);
    list = PyList_New(0);
    status = list ? PyList_Append(list, code) : -1;
    if (status == 0)
        status = PyDict_SetItem(places, qualname, list);
    Py_DecRef(list);
    return status;
}

static int add_places(PyObject *places, PyObject *code, PyObject *prefix);

static int add_nested(PyObject *places, PyObject *code, PyObject *prefix)
{
    PyObject *name = code_attribute(code, "co_name");
    const char *text = name ? PyUnicode_AsUTF8(name) : NULL;
    PyObject *qualname = NULL, *inner = NULL;
    int status = -1;

    if (text && strncmp(text, "<generic parameters of ", 23) == 0) {
        status = add_places(places, code, prefix); /* not part of qualified names */
    } else if (text) {
        qualname = PyUnicode_FromFormat("%U%U", prefix, name);
        inner = qualname ? PyUnicode_FromFormat(code_is_namespace(code) ? "%U." : "%U.<locals>.",
                                                qualname)
                         : NULL;
        if (inner && add_place(places, qualname, code) == 0)
            status = add_places(places, code, inner);
    }
    Py_DecRef(name);
    Py_DecRef(qualname);
    Py_DecRef(inner);
    return status;
}

static int add_places(PyObject *places, PyObject *code, PyObject *prefix)
{
    PyObject *consts = code_attribute(code, "co_consts");
    int status = consts ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(consts); i++) {
        PyObject *nested = PyTuple_GetItem(consts, i);

        if (type_of(nested) == &PyCode_Type)
            status = add_nested(places, nested, prefix);
    }
    Py_DecRef(consts);
    return status;
}

/* The places of module code; NULL code gives an empty dict. */
static PyObject *read_places(PyObject *module_code)
{
    PyObject *places = PyDict_New(), *prefix = PyUnicode_FromString("");
    int status = places && prefix ? 0 : -1;

    if (status == 0 && module_code)
        status = add_places(places, module_code, prefix);
    Py_DecRef(prefix);
    if (status < 0) {
        Py_DecRef(places);
        return NULL;
    }
    return places;
}

/* Called for each object of the heap: no Python object may be made here. */
static int collect_function(PyObject *object, void *arg)
{
    struct functions *functions = arg;

    if (type_of(object) != &PyFunction_Type || !is_ours(functions->pairing, object))
        return 0;
    if (!big_reserve(&functions->at, functions->n, &functions->cap, sizeof *functions->at)) {
        functions->failed = true;
        return 1;
    }
    Py_IncRef(object);
    functions->at[functions->n++] = object;
    return 0;
}

static bool is_new(const struct module_pair *module, PyObject *function)
{
    return PyFunction_GetGlobals(function) == module->new_dict;
}

static int index_by_code(struct functions *functions)
{
    functions->by_code = PyDict_New();
    if (!functions->by_code)
        return -1;
    for (size_t i = 0; i < functions->n; i++) {
        PyObject *function = functions->at[i];
        PyObject *address = PyLong_FromVoidPtr(PyFunction_GetCode(function));
        bool seen = address && dict_lookup(functions->by_code, address);
        int status =
            address ? PyDict_SetItem(functions->by_code, address, seen ? Py_None : function) : -1;

        Py_DecRef(address);
        if (status < 0)
            return -1;
    }
    return 0;
}

/* The only live function of that code: borrowed, or NULL. */
static PyObject *only_function(const struct functions *functions, PyObject *code)
{
    PyObject *address = PyLong_FromVoidPtr(code);
    PyObject *found = address ? dict_lookup(functions->by_code, address) : NULL;

    Py_DecRef(address);
    drop_error();
    return found == Py_None ? NULL : found;
}

/* The last part of a qualified name is the code's own name. */
static bool place_ends_in(PyObject *place, PyObject *name)
{
    Py_ssize_t size, own_size;
    const char *text = PyUnicode_AsUTF8AndSize(place, &size);
    const char *own = PyUnicode_AsUTF8AndSize(name, &own_size);
    bool ends = text && own && size >= own_size &&
                memcmp(text + size - own_size, own, own_size) == 0 &&
                (size == own_size || text[size - own_size - 1] == '.');

    drop_error();
    return ends;
}

/* The qualified name of the function's code, or NULL.  To 3.10 it is the function's, which
 * functools.wraps sets to another one. */
static PyObject *own_place(PyObject *function)
{
    PyObject *place = PyObject_GetAttrString(PyFunction_GetCode(function), "co_qualname");

    if (!place) {
        drop_error();
        place = builtin_attribute(function, &PyFunction_Type, "__qualname__");
    }
    if (place && is_str(place))
        return place;
    Py_DecRef(place);
    return NULL;
}

/* By the old source: the place whose code is the function's.  Another function may have the same
 * code, so its own place comes first, even if nothing stands there now.  Borrowed, or NULL. */
static PyObject *new_code_by_source(const struct places *places, PyObject *code, PyObject *name,
                                    PyObject *own)
{
    PyObject *place, *list = own ? dict_lookup(places->old, own) : NULL;
    Py_ssize_t at = list ? code_index(list, code) : -1;

    if (at >= 0) {
        PyObject *there = dict_lookup(places->new_, own);

        return there ? code_for(list, there, at) : NULL;
    }
    at = 0;
    while (PyDict_Next(places->old, &at, &place, &list)) {
        PyObject *there;
        Py_ssize_t index;

        if (!place_ends_in(place, name))
            continue;
        index = code_index(list, code);
        there = index >= 0 ? dict_lookup(places->new_, place) : NULL;
        if (there)
            return code_for(list, there, index);
    }
    return NULL;
}

/* By the qualified name, if there is one place of that name: borrowed, or NULL. */
static PyObject *new_code_by_name(const struct places *places, PyObject *name, PyObject *own)
{
    PyObject *list = NULL;

    if (own && !str_is(name, "<lambda>") && place_ends_in(own, name))
        list = dict_lookup(places->new_, own);
    return list && PyList_Size(list) == 1 ? PyList_GetItem(list, 0) : NULL;
}

static int pair_place(const struct scope *scope, const struct functions *functions,
                      PyObject *function, PyObject *new_code)
{
    PyObject *code = PyFunction_GetCode(function), *new_;

    new_ = only_function(functions, new_code);
    if (new_ && only_function(functions, code) == function)
        return pair_values(scope, function, new_);
    return pair_code_objects(scope, code, new_code);
}

static int pair_function_by_place(struct pairing *pairing, const struct functions *functions,
                                  PyObject *function)
{
    struct module_pair *module = pairing_module(pairing, function);
    size_t i = (size_t)(module - pairing->modules);
    struct scope scope = {.pairing = pairing, .module = module};
    PyObject *code = PyFunction_GetCode(function), *name, *own, *new_code;
    int status;

    if (is_new(module, function) || remap_get(pairing->remap, function))
        return 0;
    new_code = remap_get(pairing->remap, code);
    name = code_attribute(code, "co_name");
    if (!name)
        return -1;
    own = own_place(function);
    if (!new_code)
        new_code = new_code_by_source(&pairing->places[i], code, name, own);
    if (!new_code)
        new_code = new_code_by_name(&pairing->places[i], name, own);
    /* A class of that name now is no function. */
    status = new_code && !code_is_namespace(new_code)
                 ? pair_place(&scope, functions, function, new_code)
                 : 0;
    Py_DecRef(name);
    Py_DecRef(own);
    return status;
}

int read_all_places(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->n; i++) {
        pairing->places[i].old = read_places(pairing->modules[i].old_code);
        pairing->places[i].new_ = read_places(pairing->modules[i].new_code);
        if (!pairing->places[i].old || !pairing->places[i].new_)
            return -1;
    }
    return 0;
}

PyObject *class_body_at(PyObject *places, PyObject *qualname)
{
    PyObject *list = dict_lookup(places, qualname);

    for (Py_ssize_t i = list ? PyList_Size(list) : 0; i-- > 0;) {
        PyObject *code = PyList_GetItem(list, i);

        if (code_is_namespace(code))
            return code;
    }
    return NULL;
}

int pair_functions_by_place(struct pairing *pairing)
{
    struct functions functions = {.pairing = pairing};
    int status = heap_visit(collect_function, &functions);

    if (functions.failed) {
        PyErr_NoMemory();
        status = -1;
    }
    status = status < 0 ? -1 : index_by_code(&functions);
    for (size_t i = 0; i < functions.n && status == 0; i++)
        status = pair_function_by_place(pairing, &functions, functions.at[i]);
    Py_DecRef(functions.by_code);
    for (size_t i = 0; i < functions.n; i++)
        Py_DecRef(functions.at[i]);
    big_free(functions.at);
    return status;
}

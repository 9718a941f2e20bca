/* Looking into objects without running code of the target.
 *
 * PyObject_GenericGetDict exists in every version and gives the instance dict whatever
 * the layout (tp_dictoffset to 3.10, managed dicts and inline values from 3.11,
 * Objects/dictobject.c). */
#include "introspect.h"

#include <stdlib.h>
#include <string.h>

int pass_over_error(void)
{
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError))
        return -1;
    PyErr_Clear();
    return 0;
}

static bool short_of_memory;

void drop_error(void)
{
    if (pass_over_error() == 0)
        return;
    short_of_memory = true;
    PyErr_Clear();
}

bool memory_was_short(void)
{
    bool was = short_of_memory;

    short_of_memory = false;
    return was;
}

/* Without making a str, so that it cannot fail. */
static PyObject *search_text(PyObject *dict, const char *name)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(dict, &position, &key, &value))
        if (type_of(key) == &PyUnicode_Type && PyUnicode_CompareWithASCIIString(key, name) == 0)
            return value;
    return NULL;
}

PyObject *dict_get(PyObject *dict, const char *name)
{
    PyObject *key, *value, *type, *error, *traceback;

    PyErr_Fetch(&type, &error, &traceback);
    key = PyUnicode_InternFromString(name);
    value = key ? PyDict_GetItemWithError(dict, key) : search_text(dict, name);
    Py_DecRef(key);
    PyErr_Restore(type, error, traceback);
    return value;
}

PyObject *dict_lookup(PyObject *dict, PyObject *key)
{
    PyObject *value = PyDict_GetItemWithError(dict, key);

    if (!value)
        drop_error();
    return value;
}

bool is_plain_key(PyObject *key)
{
    PyTypeObject *type = type_of(key);

    if (type == &PyTuple_Type) {
        for (Py_ssize_t i = 0; i < PyTuple_Size(key); i++) {
            if (!is_plain_key(PyTuple_GetItem(key, i)))
                return false;
        }
        return true;
    }
    /* Hashed and compared by identity: functions, plain classes, most instances. */
    if (type->tp_hash == PyBaseObject_Type.tp_hash &&
        type->tp_richcompare == PyBaseObject_Type.tp_richcompare)
        return true;
    return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type ||
           type == &PyFloat_Type || type == &PyBool_Type || type == &PyComplex_Type ||
           type == &PyCode_Type || key == Py_None;
}

PyObject *str_printable(PyObject *str)
{
    PyObject *bytes, *copy;

    if (!str || !is_str(str) || PyUnicode_AsUTF8(str))
        return str;
    PyErr_Clear();
    bytes = PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace");
    copy = bytes ? PyUnicode_FromStringAndSize(PyBytes_AsString(bytes), PyBytes_Size(bytes)) : NULL;
    Py_DecRef(bytes);
    Py_DecRef(str);
    return copy;
}

bool is_module(PyObject *object)
{
    return PyType_IsSubtype(type_of(object), &PyModule_Type) && PyModule_GetDict(object);
}

PyObject *class_dict(PyObject *cls)
{
    return ((PyTypeObject *)cls)->tp_dict;
}

bool is_heap_class(PyObject *object)
{
    return is_type(object) && type_has((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE) &&
           ((PyTypeObject *)object)->tp_dict;
}

bool has_instance_dict(PyObject *object)
{
    PyTypeObject *type = type_of(object);

    if (is_type(object) || type == &PyModule_Type)
        return false;
    /* Py_TPFLAGS_MANAGED_DICT (bit 4) exists from 3.11; tp_dictoffset is -1 there from 3.12. */
    return type->tp_dictoffset != 0 ||
           (type_has(type, Py_TPFLAGS_HEAPTYPE) && type_has(type, 1UL << 4));
}

PyObject *instance_dict(PyObject *object)
{
    PyObject *dict;

    if (!has_instance_dict(object))
        return NULL;
    dict = PyObject_GenericGetDict(object, NULL);
    if (!dict)
        drop_error();
    return dict;
}

PyObject *builtin_attribute(PyObject *object, PyTypeObject *type, const char *name)
{
    PyObject *dict = type->tp_dict, *descriptor, *value = NULL;
    PyObject *(*get)(PyObject *, PyObject *, PyObject *);

    if (PyType_GetDict)
        dict = PyType_GetDict(type);
    else
        Py_IncRef(dict);
    if (!dict) {
        drop_error();
        return NULL;
    }
    descriptor = dict_get(dict, name);
    if (descriptor && type_of(descriptor)->tp_descr_get) {
        get =
            (PyObject * (*)(PyObject *, PyObject *, PyObject *)) type_of(descriptor)->tp_descr_get;
        value = get(descriptor, object, (PyObject *)type_of(object));
        if (!value)
            drop_error();
    }
    Py_DecRef(dict);
    return value;
}

PyObject *builtin_descr(PyTypeObject *type, const char *name)
{
    PyObject *dict = PyType_GetDict ? PyType_GetDict(type) : type->tp_dict;
    PyObject *descr = dict_get(dict, name);

    if (PyType_GetDict)
        Py_DecRef(dict); /* the type has it */
    if (!descr || !type_of(descr)->tp_descr_set) {
        PyErr_Format(PyExc_RuntimeError, "this interpreter has no setter for %s.%s", type->tp_name,
                     name);
        return NULL;
    }
    return descr;
}

PyObject *loaded_attribute(const char *module, const char *name)
{
    PyObject *found = dict_get(PyImport_GetModuleDict(), module);

    if (!found || type_of(found) != &PyModule_Type || !is_module(found))
        return NULL;
    return dict_get(PyModule_GetDict(found), name);
}

bool is_exactly(PyObject *object, const char *module, const char *name)
{
    return (PyObject *)type_of(object) == loaded_attribute(module, name);
}

bool is_ctypes_field(const PyObject *object)
{
    const char *name = type_of(object)->tp_name;

    return !strcmp(name, "_ctypes.CField") || !strcmp(name, "ctypes.CField");
}

PyTypeObject *partial_type(void)
{
    PyObject *type = loaded_attribute("functools", "partial");

    return type && is_type(type) ? (PyTypeObject *)type : NULL;
}

bool is_partial(PyObject *object)
{
    PyTypeObject *type = partial_type();

    return type && PyType_IsSubtype(type_of(object), type);
}

bool str_is(PyObject *str, const char *text)
{
    return is_str(str) && PyUnicode_CompareWithASCIIString(str, text) == 0;
}

/* 1 when `str` begins and ends with `n` underscores and has something between. */
static bool wrapped_in(PyObject *str, size_t n)
{
    Py_ssize_t size;
    const char *text = is_str(str) ? PyUnicode_AsUTF8AndSize(str, &size) : NULL;

    if (!text) {
        PyErr_Clear();
        return false;
    }
    return (size_t)size > 2 * n && strncmp(text, "__", n) == 0 &&
           strncmp(text + size - n, "__", n) == 0;
}

bool is_dunder(PyObject *str)
{
    return wrapped_in(str, 2);
}

bool is_sunder(PyObject *str)
{
    return wrapped_in(str, 1);
}

PyObject *weakref_target(PyObject *reference)
{
    PyObject *target = NULL;

    if (&PyWeakref_GetRef) {
        if (PyWeakref_GetRef(reference, &target) < 0)
            PyErr_Clear();
        Py_DecRef(target);
        return target;
    }
    target = PyWeakref_GetObject(reference);
    if (!target)
        PyErr_Clear();
    return target == Py_None ? NULL : target;
}

/* Open addressing; the table is never more than half full. */
static PyObject **find_slot(const struct pointer_set *set, const PyObject *object)
{
    size_t at = ((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u & (set->cap - 1);

    while (set->slots[at] && set->slots[at] != object)
        at = (at + 1) & (set->cap - 1);
    return &set->slots[at];
}

static int grow(struct pointer_set *set)
{
    struct pointer_set bigger = {.n = set->n, .cap = set->cap ? 2 * set->cap : 256};

    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < set->cap; i++) {
        if (set->slots[i])
            *find_slot(&bigger, set->slots[i]) = set->slots[i];
    }
    free(set->slots);
    *set = bigger;
    return 0;
}

int pointer_set_add(struct pointer_set *set, PyObject *object)
{
    PyObject **slot;

    if (2 * (set->n + 1) > set->cap && grow(set) < 0)
        return -1;
    slot = find_slot(set, object);
    set->n += !*slot;
    *slot = object;
    return 0;
}

bool pointer_set_has(const struct pointer_set *set, const PyObject *object)
{
    return set->cap && *find_slot(set, object);
}

void pointer_set_clear(struct pointer_set *set)
{
    free(set->slots);
    memset(set, 0, sizeof *set);
}

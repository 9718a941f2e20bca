#include "shared_keys.h"

#include <stdint.h>
#include <string.h>

#include "introspect.h"
#include "version.h"

/* struct _dictkeysobject, Include/internal/pycore_dict.h (3.11 to 3.15, GIL builds). */
struct keys {
    Py_ssize_t refcnt;
    uint8_t log2_size, log2_index_bytes, kind;
    uint32_t version;
    Py_ssize_t usable, n_entries;
    char indices[];
};

enum { KEYS_SPLIT = 2 }; /* DICT_KEYS_SPLIT */

/* PyDictUnicodeEntry, the same header. */
struct entry {
    PyObject *key, *value;
};

/* PyHeapTypeObject.ht_cached_keys, in words; it follows ht_qualname (Include/cpython/object.h,
 * 3.8 to 3.15). */
static size_t keys_offset;

static const struct keys *keys_of(PyTypeObject *class)
{
    const struct keys *keys = ((struct keys **)class)[keys_offset];

    return keys && keys->kind == KEYS_SPLIT ? keys : NULL;
}

static size_t find_offset(PyObject *class)
{
    PyObject *qualname = builtin_attribute(class, &PyType_Type, "__qualname__");
    size_t n = (size_t)PyType_Type.tp_basicsize / sizeof(void *), found = 0;

    for (size_t i = sizeof(PyTypeObject) / sizeof(void *); qualname && i + 1 < n; i++) {
        if (((PyObject **)class)[i] == qualname)
            found = i + 1; /* the last one: ht_name may be the same str */
    }
    Py_DecRef(qualname);
    return found;
}

/* 3.11: _PyObject_ValuesPointer, (PyDictValues **)o - 4; 3.12: _PyObject_DictOrValuesPointer,
 * o - 3, less 1 where it is no dict (Include/internal/pycore_object.h). */
static PyObject *const *values_of(const PyObject *o)
{
    const uintptr_t *words = (const uintptr_t *)o;

    if (cpython_minor() == 11)
        return (PyObject *const *)words[-4];
    if (cpython_minor() == 12 && words[-3] & 1)
        return (PyObject *const *)(words[-3] + 1);
    return NULL;
}

/* struct _dictvalues, behind what tp_basicsize covers (_PyObject_InlineValues of
 * Include/internal/pycore_object.h, 3.13 to 3.15). */
struct inline_values {
    uint8_t capacity, size, embedded, valid;
    PyObject *values[];
};

static PyObject *const *inline_values_of(const PyObject *o)
{
    enum { INLINE_VALUES = 1 << 2 };
    const struct inline_values *values;

    if (cpython_minor() < 13 || !type_has(type_of(o), INLINE_VALUES))
        return NULL;
    values = (const struct inline_values *)((const char *)o + type_of(o)->tp_basicsize);
    return values->valid && values->capacity >= shared_keys_count(type_of(o)) ? values->values
                                                                              : NULL;
}

/* An instance is given an attribute; name and value must be found where they are looked for. */
static bool try_layout(void)
{
    PyObject *class = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "pyhot_sample");
    PyObject *instance = class ? PyObject_CallFunctionObjArgs(class, NULL) : NULL;
    PyObject *name = PyUnicode_InternFromString("pyhot_attribute");
    bool found = false;

    if (instance && name && PyObject_GenericSetAttr(instance, name, Py_None) == 0) {
        keys_offset = find_offset(class);
        found = keys_offset && keys_of((PyTypeObject *)class) &&
                shared_keys_count((PyTypeObject *)class) == 1 &&
                shared_keys_name((PyTypeObject *)class, 0) == name &&
                (cpython_minor() >= 13
                     ? inline_values_of(instance) && inline_values_of(instance)[0] == Py_None
                     : values_of(instance) && values_of(instance)[0] == Py_None);
    }
    PyErr_Clear();
    Py_DecRef(instance);
    /* A class is in cycles with itself: object.__subclasses__() would list it until a collection.
     * Nobody else can know it, so they are broken as the collector would. */
    if (class)
        PyType_Type.tp_clear(class);
    Py_DecRef(class);
    Py_DecRef(name);
    return found;
}

bool shared_keys_known(void)
{
    static enum { UNTRIED, KNOWN, UNKNOWN } state;

    if (state == UNTRIED)
        state = cpython_minor() >= 11 && try_layout() ? KNOWN : UNKNOWN;
    return state == KNOWN;
}

size_t shared_keys_count(PyTypeObject *class)
{
    const struct keys *keys = keys_of(class);

    return keys ? (size_t)keys->n_entries : 0;
}

PyObject *shared_keys_name(PyTypeObject *class, size_t index)
{
    const struct keys *keys = keys_of(class);
    const struct entry *entries =
        (const struct entry *)(keys->indices + ((size_t)1 << keys->log2_index_bytes));

    return entries[index].key;
}

PyObject *const *shared_keys_values(PyObject *o)
{
    enum { MANAGED_DICT = 1 << 4 };

    return type_has(type_of(o), MANAGED_DICT) && shared_keys_known() && keys_of(type_of(o))
               ? values_of(o)
               : NULL;
}

PyObject *const *shared_keys_any_values(PyObject *o)
{
    PyObject *const *values = shared_keys_values(o);

    if (values || !type_has(type_of(o), Py_TPFLAGS_HEAPTYPE) || !shared_keys_known() ||
        !keys_of(type_of(o)))
        return values;
    return inline_values_of(o);
}

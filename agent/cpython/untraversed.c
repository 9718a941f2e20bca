#include "untraversed.h"

#include <dlfcn.h>
#include <string.h>

#include "descr.h"
#include "introspect.h"
#include "statics.h"
#include "version.h"

enum { AT_END = 0, BY_MEMBER = 1, T_OBJECT = 6, T_OBJECT_EX = 16 }; /* Include/structmember.h */

/* Each is released by the type's dealloc.  The tzinfo of a naive time is not even allocated: what
 * the attribute's C descriptor gives has to agree. */
static const struct known {
    const char *type, *attribute;
    size_t offset; /* or how it is found */
} known[] = {
    /* Modules/_datetimemodule.c, 3.8 to 3.15: tzinfo comes last (Include/datetime.h). */
    {"datetime.datetime", "tzinfo", AT_END},
    {"datetime.time", "tzinfo", AT_END},
    /* Modules/_functoolsmodule.c `keyobject`, 3.8 and 3.9: cmp, then object. */
    {"functools.KeyWrapper", "obj", BY_MEMBER},
    {"functools.KeyWrapper", NULL, sizeof(PyObject)},
    /* Modules/_sqlite/connection.c and cursor.c, 3.8 and 3.9 */
    {"sqlite3.Connection", "row_factory", BY_MEMBER},
    {"sqlite3.Connection", "text_factory", BY_MEMBER},
    {"sqlite3.Cursor", "row_factory", BY_MEMBER},
};

/* 0: no such member of an object. */
static size_t member_offset(const PyTypeObject *type, const char *name)
{
    const struct member_def *m = type->tp_members;

    for (; m && m->name; m++)
        if (strcmp(m->name, name) == 0)
            return m->type == T_OBJECT || m->type == T_OBJECT_EX ? (size_t)m->offset : 0;
    return 0;
}

static size_t offset_of(const struct known *k, const PyTypeObject *type)
{
    if (k->offset == BY_MEMBER)
        return member_offset(type, k->attribute);
    if (k->offset == AT_END)
        return (size_t)type->tp_basicsize - sizeof(PyObject *);
    /* The words before the next member, and nothing after that. */
    return member_offset(type, "obj") == k->offset + 8 &&
                   (size_t)type->tp_basicsize == k->offset + 16
               ? k->offset
               : 0;
}

static enum untraversed compare(PyObject *o, PyTypeObject *type, const struct known *k,
                                const PyObject *value)
{
    PyObject *told;

    if (k->offset != AT_END)
        return UNTRAVERSED_COUNTED;
    told = builtin_attribute(o, type, k->attribute);
    Py_DecRef(told);
    return told == value ? UNTRAVERSED_COUNTED : UNTRAVERSED_NONE;
}

enum untraversed untraversed_field(PyObject *o, size_t offset, PyObject *value)
{
    for (PyTypeObject *type = type_of(o); type; type = type->tp_base) {
        if (type_has(type, Py_TPFLAGS_HEAPTYPE))
            continue;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            if (strcmp(type->tp_name, known[i].type) == 0 && offset_of(&known[i], type) == offset)
                return compare(o, type, &known[i], value);
    }
    return UNTRAVERSED_UNKNOWN;
}

/* --- in memory of their own */

/* Of a block, or of what a debug allocator hands out of it: after its size and pads
 * (Objects/obmalloc.c, _PyMem_DebugRawAlloc). */
static bool is_start(const uintptr_t *word, uintptr_t low)
{
    uintptr_t before;

    if (low == (uintptr_t)word)
        return true;
    return low + 16 == (uintptr_t)word && read_safely(word - 1, &before, sizeof before) &&
           before >> 8 == 0xFDFDFDFDFDFDFD;
}

/* Modules/_sqlite/connection.h `callback_context`, 3.11 to 3.15: callable, module, state, a block
 * of their own.  When it is freed the allocator overwrites the first. */
static enum untraversed sqlite_callback(const uintptr_t *word, uintptr_t low)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "_sqlite3");
    uintptr_t words[3], state;

    if (!module || !PyType_IsSubtype(type_of(module), &PyModule_Type) || !is_start(word, low) ||
        !read_safely(word, words, sizeof words))
        return UNTRAVERSED_NONE;
    state = (uintptr_t)PyModule_GetState(module);
    return state && words[1] == (uintptr_t)module && words[2] == state ? UNTRAVERSED_COUNTED
                                                                       : UNTRAVERSED_NONE;
}

/* SQLite's `FuncDef` (sqliteInt.h: pUserData, pNext, xSFunc), to which create_function and
 * create_aggregate of 3.8 to 3.10 give the callable itself, with a function of Modules/_sqlite's
 * that calls it.  What releases it has a word of its own, so this one is not rewritten. */
static enum untraversed sqlite_function(PyObject *connection, const uintptr_t *word)
{
    PyTypeObject *type = type_of(connection);
    Dl_info ours, its;
    uintptr_t words[3];

    while (strcmp(type->tp_name, "sqlite3.Connection") != 0)
        type = type->tp_base;
    if (!read_safely(word, words, sizeof words) || !words[2] ||
        !dladdr((void *)(uintptr_t)type->tp_dealloc, &ours) || !dladdr((void *)words[2], &its))
        return UNTRAVERSED_NONE;
    return ours.dli_fbase == its.dli_fbase ? UNTRAVERSED_UNKNOWN : UNTRAVERSED_NONE;
}

/* Modules/_pickle.c `PyMemoTable`, 3.8 to 3.11: mask, used, allocated, table; the entries (object,
 * number) have their place by the object's address. */
static enum untraversed pickler_memo(const PyObject *pickler, const uintptr_t *word)
{
    uintptr_t memo = ((const uintptr_t *)pickler)[2], t[4];
    uintptr_t inside;

    if (!read_safely((void *)memo, t, sizeof t) || t[0] + 1 != t[2] || t[1] > t[2])
        return UNTRAVERSED_NONE;
    inside = (uintptr_t)word - t[3];
    return inside < t[2] * 16 && inside % 16 == 0 ? UNTRAVERSED_UNKNOWN : UNTRAVERSED_NONE;
}

static const struct keeper {
    const char *type, *what;
} keepers[] = {
    {"sqlite3.Connection", "callback"},
    {"_pickle.Pickler", "memo"},
};

static const struct keeper *keeper_of(const PyTypeObject *type)
{
    for (; type; type = type->tp_base)
        for (size_t i = 0; i < sizeof keepers / sizeof keepers[0]; i++)
            if (strcmp(type->tp_name, keepers[i].type) == 0)
                return &keepers[i];
    return NULL;
}

const char *untraversed_keeps(const PyTypeObject *type)
{
    const struct keeper *k = keeper_of(type);

    return k ? k->what : NULL;
}

enum untraversed untraversed_in_memory(PyObject *o, const uintptr_t *word, uintptr_t low)
{
    const struct keeper *k = keeper_of(type_of(o));

    if (!k)
        return UNTRAVERSED_NONE;
    if (k != &keepers[0])
        return pickler_memo(o, word);
    return cpython_minor() >= 11 ? sqlite_callback(word, low) : sqlite_function(o, word);
}

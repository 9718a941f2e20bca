/* Each belief about CPython's insides, tried (probes.h).
 *
 * What a probe follows may lead anywhere in a version that nobody has seen, so it reads words by
 * read_safely and compares them with what the API says.  Only then come the checks of the files
 * that have the knowledge, which rely on it. */
#include "probes.h"

#include <stdlib.h>
#include <string.h>

#include "contextvar.h"
#include "descr.h"
#include "dict.h"
#include "finalized.h"
#include "frame.h"
#include "gc_objects.h"
#include "hash.h"
#include "method.h"
#include "refcount.h"
#include "set.h"
#include "shared_keys.h"
#include "statics.h"
#include "version.h"
#include "weakref.h"

/* A copy of what is `shift` bytes behind where it is believed to be; the tests shift it. */
static bool copy(const void *object, size_t shift, void *to, size_t size)
{
    return read_safely((const char *)object + shift, to, size);
}

/* Does `o.name` have this value? */
static bool attribute_is(PyObject *o, const char *name, const void *value)
{
    PyObject *attribute = PyObject_GetAttrString(o, name);
    bool same = attribute && attribute == value;

    if (attribute)
        Py_DecRef(attribute);
    PyErr_Clear();
    return same;
}

static PyObject *make_class(const char *slots)
{
    return slots ? PyObject_CallFunction((PyObject *)&PyType_Type, "s(){s(s)}", "pyhot_sample",
                                         "__slots__", slots)
                 : PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "pyhot_sample");
}

/* --- types */

static bool type_holds(PyTypeObject *type, const char *name, size_t shift)
{
    PyTypeObject t;
    PyObject *o = (PyObject *)type;
    char text[32] = "";

    if (!copy(type, shift, &t, sizeof t) || t.ob_base.ob_base.ob_type != &PyType_Type ||
        !read_safely(t.tp_name, text, strlen(name) + 1) || strcmp(text, name))
        return false;
    return t.tp_basicsize == int_attribute(o, "__basicsize__") &&
           t.tp_itemsize == int_attribute(o, "__itemsize__") &&
           t.tp_dictoffset == int_attribute(o, "__dictoffset__") &&
           t.tp_weaklistoffset == int_attribute(o, "__weakrefoffset__") &&
           (Py_ssize_t)t.tp_flags == int_attribute(o, "__flags__") &&
           (!t.tp_base || attribute_is(o, "__base__", t.tp_base)) &&
           attribute_is(o, "__mro__", t.tp_mro) && attribute_is(o, "__bases__", t.tp_bases);
}

static bool slots_hold(PyTypeObject *class, size_t shift)
{
    PyTypeObject t;

    return copy(class, shift, &t, sizeof t) && t.tp_alloc == (void *)PyType_GenericAlloc &&
           t.tp_getattro == PyObject_GenericGetAttr && t.tp_setattro == PyObject_GenericSetAttr &&
           t.tp_hash == PyBaseObject_Type.tp_hash && t.tp_traverse && t.tp_dealloc && t.tp_dict &&
           t.tp_descr_set == NULL;
}

static bool flags_hold(void)
{
    return is_type((PyObject *)&PyType_Type) && is_dict(PyImport_GetModuleDict()) &&
           type_has(&PyTuple_Type, Py_TPFLAGS_TUPLE_SUBCLASS) &&
           type_has(&PyList_Type, Py_TPFLAGS_LIST_SUBCLASS) &&
           type_has(&PyUnicode_Type, Py_TPFLAGS_UNICODE_SUBCLASS) &&
           type_has(&PyBytes_Type, Py_TPFLAGS_BYTES_SUBCLASS) &&
           type_has(&PyLong_Type, Py_TPFLAGS_LONG_SUBCLASS) &&
           type_has(&PyDict_Type, Py_TPFLAGS_HAVE_GC) &&
           !type_has(&PyLong_Type, Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HEAPTYPE);
}

static bool try_types(size_t shift)
{
    PyObject *class;
    bool ok = type_holds(&PyLong_Type, "int", shift) && type_holds(&PyType_Type, "type", shift) &&
              type_holds(&PyDict_Type, "dict", shift) && flags_hold();

    class = ok ? make_class(NULL) : NULL;
    ok = class && type_holds((PyTypeObject *)class, "pyhot_sample", shift) &&
         slots_hold((PyTypeObject *)class, shift) &&
         type_has((PyTypeObject *)class, Py_TPFLAGS_HEAPTYPE);
    Py_DecRef(class);
    return ok;
}

/* --- objects */

static bool try_counts(size_t shift)
{
    PyObject *list = PyList_New(0);
    const PyObject *at = (const PyObject *)((char *)list + shift);
    bool ok = list && refcount_of(at) == 1;

    Py_IncRef(list);
    ok = ok && refcount_of(at) == 2 && refcount_immortal(Py_None) == (cpython_minor() >= 12);
    Py_DecRef(list);
    Py_DecRef(list);
    return ok;
}

static PyObject *nothing(PyObject *self, PyObject *arguments)
{
    (void)self;
    return arguments;
}

static PyMethodDef nothing_def = {"nothing", nothing, METH_O, NULL};

static bool try_builtins(size_t shift)
{
    PyObject *self = PyList_New(0);
    PyObject *function = self ? PyCFunction_NewEx(&nothing_def, self, NULL) : NULL;
    uintptr_t words[4];
    bool ok = function && copy(function, shift, words, sizeof words) &&
              words[2] == (uintptr_t)&nothing_def && words[3] == (uintptr_t)self &&
              builtin_self(function) == self;

    Py_DecRef(function);
    Py_DecRef(self);
    return ok;
}

static bool try_members(size_t shift)
{
    PyObject *class = make_class("slot");
    PyObject *instance = class ? PyObject_CallFunctionObjArgs(class, NULL) : NULL;
    PyObject *descr = class ? PyObject_GetAttrString(class, "slot") : NULL;
    struct member_descr d;
    struct member_def def;
    uintptr_t value;
    bool ok = instance && descr && PyObject_SetAttrString(instance, "slot", class) == 0 &&
              copy(descr, shift, &d, sizeof d) && d.d_type == (PyTypeObject *)class &&
              attribute_is(descr, "__name__", d.d_name) &&
              read_safely(d.d_member, &def, sizeof def) && def.offset > 0 &&
              def.offset < int_attribute(class, "__basicsize__") &&
              read_safely((char *)instance + def.offset, &value, sizeof value) &&
              value == (uintptr_t) class;

    PyErr_Clear();
    Py_DecRef(instance);
    Py_DecRef(descr);
    Py_DecRef(class);
    return ok;
}

static bool try_weakrefs(size_t shift)
{
    PyObject *object = PySet_New(NULL);
    PyObject *reference = object ? PyWeakref_NewRef(object, NULL) : NULL;
    struct weak_reference r, again, **list = object ? weakref_list(object) : NULL;
    uintptr_t head = 0;
    PyObject *class = make_class(NULL), *to_class = class ? PyWeakref_NewRef(class, NULL) : NULL;
    bool ok = reference && to_class && list && is_weakref(reference) &&
              copy(reference, shift, &r, sizeof r) && r.object == object && !r.callback &&
              r.hash == -1 && read_safely(list, &head, sizeof head) && head == (uintptr_t)reference;

    if (ok)
        ok = PyObject_Hash(to_class) != -1 && copy(to_class, shift, &again, sizeof again) &&
             again.object == class && again.hash == PyObject_Hash(class);
    PyErr_Clear();
    Py_DecRef(reference);
    Py_DecRef(object);
    Py_DecRef(to_class);
    Py_DecRef(class);
    return ok;
}

static bool try_context_variables(size_t shift)
{
    PyObject *default_ = PyList_New(0), *variable = NULL, *got = NULL, *name = NULL, *token, *done;
    struct context_var v;
    bool ok = false;

    name = PyUnicode_FromString("pyhot_sample");
    if (default_ && name)
        variable = PyObject_CallFunctionObjArgs((PyObject *)&PyContextVar_Type, name, NULL);
    token = variable ? PyObject_CallMethod(variable, "set", "O", default_) : NULL;
    got = token ? PyObject_CallMethod(variable, "get", NULL) : NULL;
    if (got)
        ok = copy(variable, shift, &v, sizeof v) && v.name == name && v.default_ == NULL &&
             (v.cached == NULL || v.cached == default_) && v.hash == PyObject_Hash(variable);
    PyErr_Clear();
    done = token ? PyObject_CallMethod(variable, "reset", "O", token) : NULL; /* leave nothing */
    ok = ok && done;
    PyErr_Clear();
    Py_DecRef(done);
    Py_DecRef(token);
    Py_DecRef(got);
    Py_DecRef(variable);
    Py_DecRef(name);
    Py_DecRef(default_);
    return ok;
}

/* --- containers */

static bool try_dicts(size_t shift)
{
    return dict_layout_plausible(shift) && dict_layout_known();
}

static bool try_sets(size_t shift)
{
    PyObject *set = PySet_New(NULL), *item = PyLong_FromLong(7919);
    struct set_object s;
    struct set_entry entry;
    bool ok = set && item && PySet_Add(set, item) == 0 && copy(set, shift, &s, sizeof s) &&
              s.fill == 1 && s.used == 1 && s.mask > 0 && s.mask < 1024 && s.hash == -1 &&
              read_safely(s.table + (PyObject_Hash(item) & s.mask), &entry, sizeof entry) &&
              entry.key == item && entry.hash == PyObject_Hash(item);

    PyErr_Clear();
    Py_DecRef(set);
    Py_DecRef(item);
    return ok && set_layout_known();
}

static bool try_hashes(size_t shift)
{
    return !shift && hash_formulas_known();
}

static bool try_shared_keys(size_t shift)
{
    return cpython_minor() < 11 || (!shift && shared_keys_known());
}

/* From 3.14 on nothing of a frame is read by its layout. */
static bool try_frames(size_t shift)
{
    return cpython_minor() > 13 || (!shift && frame_layout_known());
}

/* --- the collector */

static int found(PyObject *o, void *sought)
{
    if (o == *(PyObject **)sought)
        *(PyObject **)sought = NULL;
    return 0;
}

/* A collection that is under way is no matter of layout. */
static bool try_collector(size_t shift)
{
    PyObject *list = PyList_New(0), *sought = list, *newest = PyList_New(0);
    uintptr_t next = 0, back = 0;
    /* The newest is the last of its list: its successor's predecessor is itself. */
    bool ok = list && newest && copy((uintptr_t *)newest - 2, shift, &next, sizeof next) &&
              read_safely((uintptr_t *)(next & ~(uintptr_t)3) + 1, &back, sizeof back) &&
              (back & ~(uintptr_t)3) == (uintptr_t)newest - 2 * sizeof(uintptr_t);

    Py_DecRef(newest);
    if (ok && !gc_collecting())
        ok = gc_each(found, &sought) == 0 && !sought;
    PyErr_Clear();
    Py_DecRef(list);
    return ok;
}

static bool try_finalized(size_t shift)
{
    PyObject *modules = PyImport_GetModuleDict(), *list, *answer;
    PyObject *gc = PyDict_GetItemString(modules, "gc"); /* borrowed; else not worth an import */
    bool ok;

    if (!gc || cpython_minor() < 9)
        return !shift;
    list = PyList_New(0);
    ok = list && !finalized_get((PyObject *)((char *)list + shift));
    if (ok) {
        finalized_set(list, true);
        answer = PyObject_CallMethod(gc, "is_finalized", "O", list);
        finalized_set(list, false);
        ok = answer == Py_True;
        Py_DecRef(answer);
    }
    PyErr_Clear();
    Py_DecRef(list);
    return ok;
}

/* --- all */

static const struct probe {
    const char *word, *what;
    bool (*holds)(size_t shift);
} probes[] = {
    {"types", "the layout of types", try_types},
    {"counts", "where references are counted", try_counts},
    {"builtins", "the layout of built-in functions", try_builtins},
    {"members", "the layout of member descriptors", try_members},
    {"dicts", "the layout of dicts", try_dicts},
    {"sets", "the layout of sets", try_sets},
    {"hashes", "how tuples and frozensets are hashed", try_hashes},
    {"keys", "the layout of names that instances share", try_shared_keys},
    {"frames", "the layout of frames", try_frames},
    {"weakrefs", "the layout of weak references", try_weakrefs},
    {"variables", "the layout of context variables", try_context_variables},
    {"collector", "the layout of the collector's lists", try_collector},
    {"finalized", "the mark of finalized objects", try_finalized},
};

/* make FAULTS=1: $PYHOT_WRONG names a belief that is made wrong by a word. */
static size_t shift_of(const char *word)
{
#ifdef PYHOT_FAULTS
    const char *wrong = getenv("PYHOT_WRONG");

    return wrong && !strcmp(wrong, word) ? sizeof(void *) : 0;
#else
    (void)word;
    return 0;
#endif
}

const char *probes_failed(void)
{
    static bool all_hold;

    for (size_t i = 0; !all_hold && i < sizeof probes / sizeof *probes; i++)
        if (!probes[i].holds(shift_of(probes[i].word)))
            return probes[i].what;
    all_hold = true;
    return NULL;
}

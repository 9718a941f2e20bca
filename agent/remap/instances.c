/* Instances of replaced classes get the new `__class__` through object's own setter: it
 * checks the layout and, from 3.11 on, moves attributes out of arrays that are laid out by
 * the old class.  A raw write of ob_type would swap attributes there.
 *
 * Where the layout differs the instance is migrated: a new object of the new class, made
 * without __new__ or __init__, shares its __dict__ and takes over the slots by name; the
 * old object becomes a key, so every reference to it moves.  Neither __del__ runs for it. */
#include "instances.h"

#include <stdio.h>
#include <string.h>

#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/finalized.h"
#include "../cpython/introspect.h"
#include "../cpython/type_layout.h"
#include "../cpython/version.h"
#include "places.h"
#include "types.h"

enum fate { FATE_UNKNOWN, FATE_SET_CLASS, FATE_STORE_CLASS, FATE_MIGRATE, FATE_REFUSED };

struct migration {
    PyObject *old, *new_; /* the keys own them */
    bool old_finalized, done;
};

struct instances {
    unsigned char *fates; /* enum fate, by class key */
    size_t n_fates;
    struct migration *migrations;
    size_t n, cap, n_done;
};

static int set_by(PyObject *setter, PyObject *o, PyObject *value)
{
    PyObject *dict = cpython_minor() == 13 ? instance_dict(o) : NULL;
    struct dict_kept kept = dict_keep(dict);
    int result = descr_set(setter, o, value);

    if (result < 0)
        dict_give_back(&kept);
    Py_DecRef(dict);
    return result;
}

static int set_class(PyObject *o, PyObject *class)
{
    PyObject *setter = builtin_descr(&PyBaseObject_Type, "__class__");

    return setter ? set_by(setter, o, class) : -1;
}

/* The nearest ancestor that is written in C. */
static PyTypeObject *c_base(PyTypeObject *type)
{
    while (type_is_python(type))
        type = type->tp_base;
    return type;
}

static bool can_migrate(const struct remap *r, PyTypeObject *old, PyTypeObject *new_)
{
    return r->migrate && c_base(old) == &PyBaseObject_Type && c_base(new_) == &PyBaseObject_Type &&
           type_has(old, Py_TPFLAGS_HAVE_GC) && type_has(new_, Py_TPFLAGS_HAVE_GC) &&
           !new_->tp_itemsize;
}

/* An object to try the setter on.  From 3.11 on the setter moves the attributes of what it is
 * called for into a dict (object_set_class, Objects/typeobject.c), where the scan has not seen
 * them; so it is tried on an empty instance.  Those of a class written in C cannot be freed
 * unless their __new__ has run, and those without the collector's head (`__slots__ = ()`) have
 * no room for the mark that __del__ was called: they are tried themselves. */
static PyObject *setter_subject(PyObject *o)
{
    PyTypeObject *type = type_of(o);
    PyObject *empty;

    if (c_base(type) != &PyBaseObject_Type || !type_has(type, Py_TPFLAGS_HAVE_GC)) {
        Py_IncRef(o);
        return o;
    }
    empty = ((PyObject * (*)(PyTypeObject *, Py_ssize_t)) type->tp_alloc)(type, 0);
    if (empty)
        finalized_set(empty, true);
    return empty;
}

/* The setter alone knows all cases.  Setting and taking back is not seen by anyone: the
 * GIL is held and no code runs.  1, 0, -1. */
static int setter_agrees(PyObject *o, const struct key *k)
{
    PyObject *subject = setter_subject(o);
    int agrees;

    if (!subject)
        return -1;
    agrees = set_class(subject, k->new_) == 0;
    if (agrees && set_class(subject, k->old) < 0)
        agrees = -1; /* that layout it had */
    else if (!agrees && pass_over_error() < 0)
        agrees = -1;
    Py_DecRef(subject);
    return agrees;
}

/* To 3.11 the setter refuses subclasses of int, tuple and bytes that have a __dict__, whatever the
 * layout; in all versions it refuses those whose base in Python was made anew, as the named tuple
 * that `class P(namedtuple(...))` adds to.  Nothing depends on their class but its layout, if
 * attributes are in a dict: to 3.11 it is found from the end of the object, from 3.12 on before
 * its start, where 3.12 may have an array by class (_PyObject_InitializeDict, Objects/dictobject.c)
 * until instance_dict has been asked.  (Objects of fixed size have such arrays from 3.11 on.) */
static bool can_store(PyTypeObject *old, PyTypeObject *new_)
{
    return old->tp_itemsize && old->tp_dictoffset < 0 && !type_has(old, Py_TPFLAGS_TYPE_SUBCLASS) &&
           type_layout_equal(old, new_);
}

static int fate_of(struct remap *r, PyObject *o, const struct key *k, enum fate *fate)
{
    struct instances *s = r->instances;
    size_t index = (size_t)(k - r->keys);

    if (!s && !(s = r->instances = remap_alloc(r, sizeof *s)))
        return -1;
    if (s->n_fates <= index) {
        unsigned char *fates = remap_alloc(r, r->n_keys);

        if (!fates)
            return -1;
        if (s->n_fates)
            memcpy(fates, s->fates, s->n_fates);
        s->fates = fates;
        s->n_fates = r->n_keys;
    }
    if (s->fates[index] == FATE_UNKNOWN) {
        PyTypeObject *old = (PyTypeObject *)k->old, *new_ = (PyTypeObject *)k->new_;
        int moves = places_move(old, new_), agrees = moves ? 0 : setter_agrees(o, k);

        if (moves < 0 || agrees < 0)
            return -1;
        if (moves)
            s->fates[index] = FATE_REFUSED;
        else if (agrees)
            s->fates[index] = FATE_SET_CLASS;
        else if (can_store(old, new_))
            s->fates[index] = FATE_STORE_CLASS;
        else
            s->fates[index] = can_migrate(r, old, new_) ? FATE_MIGRATE : FATE_REFUSED;
    }
    *fate = s->fates[index];
    return 0;
}

/* --- migration */

static int add_migration(struct remap *r, PyObject *old, PyTypeObject *type)
{
    struct instances *s = r->instances;
    PyObject *new_;
    int result;

    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct migration *bigger = remap_alloc(r, cap * sizeof *bigger);

        if (!bigger)
            return -1;
        if (s->n)
            memcpy(bigger, s->migrations, s->n * sizeof *bigger);
        s->migrations = bigger;
        s->cap = cap;
    }
    new_ = ((PyObject * (*)(PyTypeObject *, Py_ssize_t)) type->tp_alloc)(type, 0);
    if (!new_)
        return -1;
    finalized_set(new_, true); /* if it comes to nothing it must die quietly */
    result = remap_add_derived(r, old, new_);
    s->migrations[s->n] = (struct migration){.old = old, .new_ = new_};
    if (result == 0)
        s->n++;
    Py_DecRef(new_);
    return result;
}

int instance_dies(struct remap *r, PyObject *o)
{
    const struct key *k = types_replaced(r, (PyObject *)type_of(o));
    enum fate fate;

    if (!k)
        return 0;
    if (keys_find(r, o) >= 0)
        return 1;
    if (fate_of(r, o, k, &fate) < 0)
        return -1;
    if (fate != FATE_MIGRATE)
        return 0;
    return add_migration(r, o, (PyTypeObject *)k->new_) < 0 ? -1 : 1;
}

ptrdiff_t instance_refused(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];
    enum fate fate;

    if ((PyObject *)type_of(e->referrer) != k->old)
        return 0;
    if (fate_of(r, e->referrer, k, &fate) < 0)
        return -1;
    return fate == FATE_REFUSED;
}

static PyObject *mapped(const struct remap *r, PyObject *value)
{
    ptrdiff_t i = keys_find(r, value);

    return i < 0 ? value : r->keys[i].new_;
}

/* The slot `name` of the type, NULL if it has none.  A __dict__ may have keys of any type; looking
 * such a one up would call its __hash__. */
static PyObject *slot_descr(PyTypeObject *type, PyObject *name)
{
    PyObject *descr = type_of(name) == &PyUnicode_Type ? _PyType_Lookup(type, name) : NULL;

    return descr && type_of(descr) == &PyMemberDescr_Type ? descr : NULL;
}

static bool has_dict(const PyTypeObject *type)
{
    return type->tp_dictoffset != 0;
}

/* An attribute that the new class has no place for: said, as it is lost with the object. */
static int lost(struct remap *r, PyObject *old, PyObject *name)
{
    const char *text = is_str(name) ? PyUnicode_AsUTF8(name) : type_of(name)->tp_name;
    ptrdiff_t key = keys_find(r, (PyObject *)type_of(old));
    char where[200];

    if (!text && pass_over_error() < 0)
        return -1;
    if (!text) /* surrogates */
        text = "(no text)";
    if (key < 0)
        return 0;
    snprintf(where, sizeof where, "attribute '%.100s' of a migrated instance is dropped", text);
    return remap_hold(r, (uint32_t)key, where, 0);
}

static int give(struct remap *r, const struct migration *m, PyObject *name, PyObject *value)
{
    PyObject *slot = slot_descr(type_of(m->new_), name);
    PyObject *dict;
    int result;

    value = mapped(r, value);
    if (slot)
        return descr_set(slot, m->new_, value);
    if (!has_dict(type_of(m->new_)))
        return lost(r, m->old, name);
    dict = PyObject_GenericGetDict(m->new_, NULL);
    if (!dict)
        return -1;
    result = PyDict_SetItem(dict, name, value);
    Py_DecRef(dict);
    return result;
}

static int give_slots(struct remap *r, const struct migration *m)
{
    for (PyTypeObject *type = type_of(m->old); type_is_python(type); type = type->tp_base) {
        PyObject *name, *descr;
        Py_ssize_t pos = 0;

        while (PyDict_Next(type->tp_dict, &pos, &name, &descr)) {
            PyObject *(*get)(PyObject *, PyObject *, PyObject *);
            PyObject *value;
            int result;

            if (type_of(descr) != &PyMemberDescr_Type)
                continue;
            get = type_of(descr)->tp_descr_get;
            value = get(descr, m->old, (PyObject *)type_of(m->old));
            if (!value) { /* never assigned */
                if (pass_over_error() < 0)
                    return -1;
                continue;
            }
            result = give(r, m, name, value);
            Py_DecRef(value);
            if (result < 0)
                return -1;
        }
    }
    return 0;
}

/* object.__dict__ = dict by the descriptor that the class statement made (subtype_setdict of
 * Objects/typeobject.c): PyObject_GenericSetDict leaves the values that from 3.13 on may be
 * inside the instance marked as valid, and attributes set later would go there. */
static int set_dict(PyObject *o, PyObject *dict)
{
    PyObject *mro = type_of(o)->tp_mro;

    for (Py_ssize_t i = 0, n = PyTuple_Size(mro); i < n; i++) {
        PyTypeObject *type = (PyTypeObject *)PyTuple_GetItem(mro, i);
        PyObject *descr = type_is_python(type) ? dict_get(type->tp_dict, "__dict__") : NULL;

        if (descr && type_of(descr) == &PyGetSetDescr_Type)
            return set_by(descr, o, dict);
    }
    return PyObject_GenericSetDict(o, dict, NULL);
}

/* From 3.13 a dict may live inside its instance; replacing it moves it out. */
static int detach_dict(PyObject *o, PyObject *dict)
{
    PyObject *empty = PyDict_New();
    int result;

    if (!empty)
        return -1;
    result = set_dict(o, empty);
    if (result == 0)
        result = set_dict(o, dict);
    Py_DecRef(empty);
    return result;
}

/* Does the new class have a slot for a name in the dict? */
static bool dict_splits(const struct migration *m, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    if (!has_dict(type_of(m->new_)))
        return true;
    while (PyDict_Next(dict, &pos, &name, &value))
        if (slot_descr(type_of(m->new_), name))
            return true;
    return false;
}

static int give_dict(struct remap *r, const struct migration *m)
{
    PyObject *dict, *name, *value;
    Py_ssize_t pos = 0;
    int result = 0;

    if (!has_dict(type_of(m->old)))
        return 0;
    dict = PyObject_GenericGetDict(m->old, NULL);
    if (!dict)
        return -1;
    if (dict_splits(m, dict)) {
        while (result == 0 && PyDict_Next(dict, &pos, &name, &value))
            result = give(r, m, name, value);
    } else {
        if (cpython_minor() >= 13)
            result = detach_dict(m->old, dict);
        if (result == 0)
            result = set_dict(m->new_, dict);
        while (result == 0 && PyDict_Next(dict, &pos, &name, &value))
            if (mapped(r, value) != value && type_of(name) == &PyUnicode_Type)
                result = PyDict_SetItem(dict, name, mapped(r, value));
    }
    Py_DecRef(dict);
    return result;
}

static void migrations_undo(struct remap *r)
{
    struct instances *s = r->instances;

    for (size_t i = 0; s && i < s->n_done; i++) {
        finalized_set(s->migrations[i].old, s->migrations[i].old_finalized);
        finalized_set(s->migrations[i].new_, true);
    }
    if (s)
        s->n_done = 0;
}

static int migrations_commit(struct remap *r)
{
    struct instances *s = r->instances;

    for (; s && s->n_done < s->n; s->n_done++) {
        struct migration *m = &s->migrations[s->n_done];

        m->old_finalized = finalized_get(m->old);
        if (give_dict(r, m) < 0 || give_slots(r, m) < 0) {
            migrations_undo(r);
            return -1;
        }
        finalized_set(m->old, true);
        finalized_set(m->new_, m->old_finalized);
    }
    return 0;
}

static int instances_prepare(struct remap *r)
{
    if (r->instances)
        r->migrated = r->instances->n;
    return 0;
}

/* --- same layout */

static ptrdiff_t instance_resolve(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];
    enum fate fate;

    if (!k->is_class || (PyObject *)type_of(e->referrer) != k->old)
        return 0;
    return fate_of(r, e->referrer, k, &fate) < 0 ? -1 : 1;
}

static int change_class(struct remap *r, const struct edge *e, PyObject *from, PyObject *to)
{
    struct instances *s = r->instances;
    PyObject *dict;

    if (s->fates[e->key] != FATE_STORE_CLASS)
        return set_class(e->referrer, to);
    if (cpython_minor() == 12) {
        dict = instance_dict(e->referrer);
        if (!dict) {
            PyErr_NoMemory();
            return -1;
        }
        Py_DecRef(dict);
    }
    Py_IncRef(to);
    e->referrer->ob_type = (PyTypeObject *)to;
    Py_DecRef(from); /* the key's own reference keeps it */
    return 0;
}

static int instance_commit(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];

    return change_class(r, e, k->old, k->new_);
}

static void instance_undo(struct remap *r, struct edge *e)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (change_class(r, e, r->keys[e->key].new_, r->keys[e->key].old) < 0)
        PyErr_WriteUnraisable(e->referrer);
    PyErr_Restore(type, value, traceback);
}

const struct writer instance_writer = {
    .kind = "instance",
    .resolve = instance_resolve,
    .prepare = instances_prepare,
    .commit_own = migrations_commit,
    .undo_own = migrations_undo,
    .commit = instance_commit,
    .undo = instance_undo,
};

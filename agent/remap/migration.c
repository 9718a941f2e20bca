/* An instance whose new class has another layout becomes another object: one of the new class, made
 * without __new__ or __init__, shares its __dict__ and takes over the slots by name; the
 * old object becomes a key, so every reference to it moves.  Neither __del__ runs for it.
 *
 * A __dict__ with a name that the new class has a slot for is divided.  One with str keys only is
 * copied; one that has others too is shared and divided in the end, in place, as an insertion
 * would call their __hash__. */
#include "migration.h"

#include <stdio.h>

#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/finalized.h"
#include "../cpython/introspect.h"
#include "../cpython/type_layout.h"
#include "../cpython/version.h"

struct migration {
    PyObject *old, *new_; /* the keys own them */
    PyObject *shared;     /* their __dict__, borrowed; or NULL */
    bool old_finalized;
};

/* An attribute that a slot had, in a dict that the old instance has too. */
struct addition {
    PyObject *dict, *name; /* borrowed */
    PyObject *before;      /* the value that the slot hid, NULL: none; a grave's */
};

struct migrations {
    struct migration *items;
    size_t n, cap, n_done;
    struct addition *additions;
    size_t n_additions, cap_additions;
};

int migration_add(struct remap *r, PyObject *old, PyTypeObject *type)
{
    struct migrations *s = r->migrations;
    PyObject *new_;
    int result;

    if (!s && !(s = r->migrations = remap_alloc(r, sizeof *s)))
        return -1;
    if (remap_reserve(r, &s->items, s->n, &s->cap, sizeof *s->items) < 0)
        return -1;
    new_ = ((PyObject * (*)(PyTypeObject *, Py_ssize_t)) type->tp_alloc)(type, 0);
    if (!new_)
        return -1;
    finalized_set(new_, true); /* if it comes to nothing it must die quietly */
    result = remap_add_derived(r, old, new_);
    s->items[s->n] = (struct migration){.old = old, .new_ = new_};
    if (result == 0)
        s->n++;
    Py_DecRef(new_);
    return result;
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

static int note_addition(struct remap *r, PyObject *dict, PyObject *name)
{
    struct migrations *s = r->migrations;
    PyObject *before = PyDict_GetItemWithError(dict, name);

    if (!before && PyErr_Occurred())
        return -1;
    if (remap_reserve(r, &s->additions, s->n_additions, &s->cap_additions, sizeof *s->additions) <
        0)
        return -1;
    if (dict_unshare_keys(dict) < 0 || (before && remap_reserve_graves(r, 1) < 0))
        return -1;
    if (before) {
        Py_IncRef(before);
        remap_bury(r, before);
    }
    s->additions[s->n_additions++] = (struct addition){dict, name, before};
    return 0;
}

static void additions_undo(struct migrations *s)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    while (s->n_additions) {
        const struct addition *a = &s->additions[--s->n_additions];

        if (a->before)
            PyDict_SetItem(a->dict, a->name, a->before);
        else if (PyDict_DelItem(a->dict, a->name) < 0)
            PyErr_Clear(); /* the addition is what failed */
    }
    PyErr_Restore(type, value, traceback);
}

static int give_to_dict(struct remap *r, const struct migration *m, PyObject *name, PyObject *value)
{
    PyObject *dict = PyObject_GenericGetDict(m->new_, NULL);
    int result;

    if (!dict)
        return -1;
    result = m->shared ? note_addition(r, dict, name) : 0;
    if (result == 0)
        result = PyDict_SetItem(dict, name, value);
    Py_DecRef(dict);
    return result;
}

static int give(struct remap *r, const struct migration *m, PyObject *name, PyObject *value)
{
    PyObject *slot = slot_descr(type_of(m->new_), name);

    value = keys_mapped(r, value);
    if (slot)
        return descr_set(slot, m->new_, value);
    if (!has_dict(type_of(m->new_)))
        return lost(r, m->old, name);
    return give_to_dict(r, m, name, value);
}

/* What a slot of `type` has that one of a subclass hides: it stays hidden, or is lost. */
static int give_hidden(struct remap *r, const struct migration *m, PyTypeObject *type,
                       PyObject *name, PyObject *value)
{
    PyTypeObject *place = (PyTypeObject *)keys_mapped(r, (PyObject *)type);
    PyObject *slot = PyType_IsSubtype(type_of(m->new_), place)
                         ? PyDict_GetItemWithError(place->tp_dict, name)
                         : NULL;

    if (slot && type_of(slot) == &PyMemberDescr_Type && slot != slot_descr(type_of(m->new_), name))
        return descr_set(slot, m->new_, keys_mapped(r, value));
    return PyErr_Occurred() ? -1 : lost(r, m->old, name);
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
            if (_PyType_Lookup(type_of(m->old), name) == descr)
                result = give(r, m, name, value);
            else
                result = give_hidden(r, m, type, name, value);
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
            return instance_set(descr, o, dict);
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
static bool dict_divides(const struct migration *m, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    while (PyDict_Next(dict, &pos, &name, &value))
        if (slot_descr(type_of(m->new_), name))
            return true;
    return false;
}

static int share_dict(struct migration *m, PyObject *dict)
{
    if (cpython_minor() >= 13 && detach_dict(m->old, dict) < 0)
        return -1;
    if (set_dict(m->new_, dict) < 0)
        return -1;
    m->shared = dict;
    return 0;
}

static int give_dict(struct remap *r, struct migration *m)
{
    PyObject *dict, *name, *value;
    struct dict_table t;
    Py_ssize_t pos = 0;
    int result = 0;

    if (!has_dict(type_of(m->old)))
        return 0;
    dict = PyObject_GenericGetDict(m->old, NULL);
    if (!dict)
        return -1;
    if (has_dict(type_of(m->new_)) && (dict_table_open(dict, &t) || !dict_divides(m, dict)))
        result = share_dict(m, dict);
    else
        while (result == 0 && PyDict_Next(dict, &pos, &name, &value))
            result = give(r, m, name, value);
    Py_DecRef(dict);
    return result;
}

static void migrations_undo(struct remap *r)
{
    struct migrations *s = r->migrations;

    if (!s)
        return;
    for (size_t i = 0; i < s->n_done; i++) {
        finalized_set(s->items[i].old, s->items[i].old_finalized);
        finalized_set(s->items[i].new_, true);
    }
    s->n_done = 0;
    additions_undo(s);
}

static int migrations_prepare(struct remap *r)
{
    struct migrations *s = r->migrations;

    if (!s)
        return 0;
    r->migrated = s->n;
    return remap_make_scratch(r);
}

static int migrations_commit(struct remap *r)
{
    struct migrations *s = r->migrations;

    for (; s && s->n_done < s->n; s->n_done++) {
        struct migration *m = &s->items[s->n_done];

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

/* --- shared dicts, once nothing can fail any more */

static void drop_entry(struct dict_table *t, struct dict_entry *e)
{
    size_t index = (size_t)(e - t->entries);
    PyObject *name = e->key, *value = e->value;
    struct odict_node *node = odict_first(t->dict);

    while (node && node->key != name)
        node = node->next;
    if (node) {
        odict_remove(t->dict, node, index, NULL, index);
        Py_DecRef(name);
    }
    dict_table_remove(t, e);
    Py_DecRef(name);
    Py_DecRef(value);
}

static void divide(const struct remap *r, const struct migration *m, struct dict_table *t)
{
    for (size_t i = 0; i < t->n_entries; i++) {
        struct dict_entry *e = &t->entries[i];
        PyObject *slot = e->key ? slot_descr(type_of(m->new_), e->key) : NULL;

        if (slot && descr_set(slot, m->new_, keys_mapped(r, e->value)) == 0)
            drop_entry(t, e);
    }
    dict_table_reindex(t);
    dict_new_version(t->dict, r->scratch);
}

/* What was inside the old instance no other writer knows: its values are still the old ones.  The
 * names are there, so setting them takes no memory. */
static void renew_values(const struct remap *r, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    while (PyDict_Next(dict, &pos, &name, &value))
        if (keys_mapped(r, value) != value)
            PyDict_SetItem(dict, name, keys_mapped(r, value));
}

static void migrations_finish(struct remap *r)
{
    struct migrations *s = r->migrations;

    for (size_t i = 0; s && i < s->n; i++) {
        const struct migration *m = &s->items[i];
        struct dict_table t;

        if (m->shared && !dict_table_open(m->shared, &t))
            renew_values(r, m->shared);
        else if (m->shared && dict_divides(m, m->shared))
            divide(r, m, &t);
    }
}

const struct writer migration_writer = {
    .kind = "migration",
    .prepare = migrations_prepare,
    .commit_own = migrations_commit,
    .undo_own = migrations_undo,
    .finish = migrations_finish,
};

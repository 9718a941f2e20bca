/* Instances of replaced classes get the new `__class__` through object's own setter: it
 * checks the layout and, from 3.11 on, moves attributes out of arrays that are laid out by
 * the old class.  A raw write of ob_type would swap attributes there.
 * Where the layout differs the instance is migrated (migration.c). */
#include "instances.h"

#include <string.h>

#include "../cpython/dict.h"
#include "../cpython/finalized.h"
#include "../cpython/introspect.h"
#include "../cpython/type_layout.h"
#include "../cpython/version.h"
#include "migration.h"
#include "places.h"
#include "types.h"

enum fate { FATE_UNKNOWN, FATE_SET_CLASS, FATE_STORE_CLASS, FATE_MIGRATE, FATE_REFUSED };

struct instances {
    unsigned char *fates; /* enum fate, by class key */
    size_t n_fates;
};

static int set_class(PyObject *o, PyObject *class)
{
    PyObject *setter = builtin_descr(&PyBaseObject_Type, "__class__");

    return setter ? instance_set(setter, o, class) : -1;
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
    return migration_add(r, o, (PyTypeObject *)k->new_) < 0 ? -1 : 1;
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
    .commit = instance_commit,
    .undo = instance_undo,
};

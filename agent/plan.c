/* The plan of a reload: the engine's map and a log of edits to live containers.
 *
 * Every edit keeps what it replaces until plan_free, so that nothing is finalized and no
 * destructor of the target runs between the first edit and the end of remap_verify. */
#include "plan.h"

#include <stdlib.h>

#include "big.h"
#include "cpython/introspect.h"

enum edit_kind {
    EDIT_DICT,
    EDIT_LIST,
    EDIT_REMOVE,
    EDIT_REPLACE,
    EDIT_SET,
    EDIT_DISCARD,
    EDIT_RENAME,
    EDIT_TYPE,
};

struct edit {
    enum edit_kind kind;
    PyObject *container;
    PyObject *key;   /* EDIT_DICT, EDIT_TYPE; of EDIT_REPLACE the element;
                        of EDIT_RENAME the old one */
    PyObject *value; /* of EDIT_DICT, EDIT_TYPE NULL: delete */
    PyObject *old;   /* what was there before the commit; NULL: nothing.  Of EDIT_DICT and
                        EDIT_TYPE borrowed from plan->replaced */
    bool take;       /* of EDIT_RENAME: also over an entry that has the key */
    bool done;       /* changed something that undo has to take back */
};

struct plan {
    struct remap *remap;
    struct edit *edits;
    size_t n_edits, cap_edits;
    PyObject *replaced; /* list: what entries held; the engine counts it as ours */
    bool resolved, verified;
};

struct plan *plan_new(void)
{
    struct plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        PyErr_NoMemory();
        return NULL;
    }
    plan->remap = remap_new();
    plan->replaced = plan->remap ? PyList_New(0) : NULL;
    if (!plan->replaced || remap_exclude(plan->remap, plan->replaced) < 0) {
        plan_free(plan);
        return NULL;
    }
    return plan;
}

static void edit_clear(struct edit *edit)
{
    Py_DecRef(edit->container);
    Py_DecRef(edit->key);
    Py_DecRef(edit->value);
    if (edit->kind != EDIT_DICT && edit->kind != EDIT_TYPE)
        Py_DecRef(edit->old);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    remap_free(plan->remap);
    for (size_t i = 0; i < plan->n_edits; i++)
        edit_clear(&plan->edits[i]);
    Py_DecRef(plan->replaced);
    big_free(plan->edits);
    free(plan);
}

struct remap *plan_remap(struct plan *plan)
{
    return plan->remap;
}

static int add_edit(struct plan *plan, enum edit_kind kind, PyObject *container, PyObject *key,
                    PyObject *value)
{
    struct edit *edit;

    if (plan->resolved) {
        PyErr_SetString(PyExc_RuntimeError, "pyhot: edit added to a plan that is resolved");
        return -1;
    }
    if (big_reserve_or_raise(&plan->edits, plan->n_edits, &plan->cap_edits, sizeof *plan->edits) <
        0)
        return -1;
    edit = &plan->edits[plan->n_edits++];
    *edit = (struct edit){.kind = kind, .container = container, .key = key, .value = value};
    Py_IncRef(container);
    Py_IncRef(key);
    Py_IncRef(value);
    return 0;
}

static int check_key(PyObject *key)
{
    if (is_plain_key(key))
        return 0;
    PyErr_Format(PyExc_TypeError, "pyhot: a key of type %s would run code of the target",
                 type_of(key)->tp_name);
    return -1;
}

static int edit_dict(struct plan *plan, PyObject *dict, PyObject *key, PyObject *value)
{
    if (!is_dict(dict)) {
        PyErr_Format(PyExc_TypeError, "pyhot: %s is not a dict", type_of(dict)->tp_name);
        return -1;
    }
    if (check_key(key) < 0)
        return -1;
    return add_edit(plan, EDIT_DICT, dict, key, value);
}

int plan_set(struct plan *plan, PyObject *dict, PyObject *key, PyObject *value)
{
    return edit_dict(plan, dict, key, value);
}

int plan_delete(struct plan *plan, PyObject *dict, PyObject *key)
{
    return edit_dict(plan, dict, key, NULL);
}

int plan_append(struct plan *plan, PyObject *list, PyObject *value)
{
    return add_edit(plan, EDIT_LIST, list, NULL, value);
}

int plan_remove(struct plan *plan, PyObject *list, PyObject *value)
{
    return add_edit(plan, EDIT_REMOVE, list, NULL, value);
}

int plan_replace(struct plan *plan, PyObject *list, PyObject *old, PyObject *value)
{
    return add_edit(plan, EDIT_REPLACE, list, old, value);
}

int plan_add(struct plan *plan, PyObject *set, PyObject *value)
{
    if (check_key(value) < 0)
        return -1;
    return add_edit(plan, EDIT_SET, set, NULL, value);
}

int plan_discard(struct plan *plan, PyObject *set, PyObject *value)
{
    if (check_key(value) < 0)
        return -1;
    return add_edit(plan, EDIT_DISCARD, set, NULL, value);
}

int plan_rename(struct plan *plan, PyObject *dict, PyObject *key, PyObject *to, bool take)
{
    if (check_key(key) < 0 || check_key(to) < 0 || add_edit(plan, EDIT_RENAME, dict, key, to) < 0)
        return -1;
    plan->edits[plan->n_edits - 1].take = take;
    return 0;
}

static int edit_type(struct plan *plan, PyObject *type, PyObject *name, PyObject *value)
{
    if (!is_type(type) || !type_has((PyTypeObject *)type, Py_TPFLAGS_HEAPTYPE) || !is_str(name)) {
        PyErr_SetString(PyExc_TypeError, "pyhot: attributes are set on classes of Python only");
        return -1;
    }
    return add_edit(plan, EDIT_TYPE, type, name, value);
}

int plan_set_type(struct plan *plan, PyObject *type, PyObject *name, PyObject *value)
{
    return edit_type(plan, type, name, value);
}

int plan_delete_type(struct plan *plan, PyObject *type, PyObject *name)
{
    return edit_type(plan, type, name, NULL);
}

int plan_resolve(struct plan *plan)
{
    plan->resolved = true;
    return remap_resolve(plan->remap);
}

/* An OrderedDict keeps its order beside the table: PyDict_SetItem would corrupt it. */
static int dict_store(PyObject *dict, PyObject *key, PyObject *value)
{
    bool ordered = PyType_IsSubtype(type_of(dict), &PyODict_Type);

    if (!value)
        return ordered ? PyODict_DelItem(dict, key) : PyDict_DelItem(dict, key);
    return ordered ? PyODict_SetItem(dict, key, value) : PyDict_SetItem(dict, key, value);
}

/* type.__setattr__ itself would call a data descriptor that a metaclass of Python has for
 * the name; then only the class's own dict is written, as such a name is no slot. */
static int type_store(PyObject *type, PyObject *name, PyObject *value)
{
    PyObject *descriptor = _PyType_Lookup(type_of(type), name);
    PyObject *own = ((PyTypeObject *)type)->tp_dict;
    int status;

    if (!descriptor || !type_of(descriptor)->tp_descr_set ||
        _PyType_Lookup(&PyType_Type, name) == descriptor)
        return PyType_Type.tp_setattro(type, name, value);
    status = value ? PyDict_SetItem(own, name, value) : PyDict_DelItem(own, name);
    PyType_Modified((PyTypeObject *)type);
    return status;
}

/* Remembers what the entry holds now.  1: held, 0: not, -1: exception. */
static int remember_old(struct plan *plan, struct edit *edit)
{
    PyObject *dict = edit->container, *old;

    if (edit->kind == EDIT_TYPE)
        dict = ((PyTypeObject *)edit->container)->tp_dict;
    old = PyDict_GetItemWithError(dict, edit->key);
    if (!old)
        return PyErr_Occurred() ? -1 : 0;
    if (PyList_Append(plan->replaced, old) < 0)
        return -1;
    edit->old = old; /* the list's reference */
    return 1;
}

static int apply_entry(struct plan *plan, struct edit *edit)
{
    int held = remember_old(plan, edit);

    if (held < 0)
        return -1;
    if (!held && !edit->value)
        return 0;
    edit->done = true;
    if (edit->kind == EDIT_TYPE)
        return type_store(edit->container, edit->key, edit->value);
    return dict_store(edit->container, edit->key, edit->value);
}

static int remove_last(PyObject *list, PyObject *value)
{
    for (Py_ssize_t i = PyList_Size(list); i-- > 0;) {
        if (PyList_GetItem(list, i) == value)
            return PyList_SetSlice(list, i, i + 1, NULL);
    }
    return 0;
}

static int replace(PyObject *list, PyObject *old, PyObject *value)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (PyList_GetItem(list, i) == old) {
            Py_IncRef(value);
            return PyList_SetItem(list, i, value);
        }
    }
    return 0;
}

/* The entries are as the engine left them.  What is dropped stays in edit->old. */
static int rename_entry(struct edit *edit)
{
    PyObject *dict = edit->container, *to = edit->value;
    PyObject *value = PyDict_GetItemWithError(dict, edit->key), *over;

    if (!value)
        return PyErr_Occurred() ? -1 : 0;
    over = PyDict_GetItemWithError(dict, to);
    edit->old = edit->take ? over : value;
    Py_IncRef(edit->old);
    if ((!over || edit->take) && dict_store(dict, to, value) < 0)
        return -1;
    return dict_store(dict, edit->key, NULL);
}

static int apply_late(struct edit *edit)
{
    switch (edit->kind) {
    case EDIT_DICT:
        return edit->old ? dict_store(edit->container, edit->key, NULL) : 0;
    case EDIT_LIST:
        return PyList_Append(edit->container, edit->value);
    case EDIT_REMOVE:
        return remove_last(edit->container, edit->value);
    case EDIT_REPLACE:
        return replace(edit->container, edit->key, edit->value);
    case EDIT_RENAME:
        return rename_entry(edit);
    case EDIT_DISCARD:
        return PySet_Discard(edit->container, edit->value);
    default:
        return PySet_Add(edit->container, edit->value);
    }
}

/* Deleted after the engine's commit: undone, the entry could only come back at the dict's end. */
static bool is_deletion(const struct edit *edit)
{
    return edit->kind == EDIT_DICT && !edit->value;
}

/* Is it made before the engine's commit, and undone if that fails? */
static bool is_early(const struct edit *edit)
{
    return edit->kind == EDIT_TYPE || (edit->kind == EDIT_DICT && edit->value);
}

static int undo_entry(struct edit *edit)
{
    if (edit->kind == EDIT_TYPE)
        return type_store(edit->container, edit->key, edit->old);
    if (edit->old)
        return dict_store(edit->container, edit->key, edit->old);
    return PyDict_Contains(edit->container, edit->key) == 1
               ? dict_store(edit->container, edit->key, NULL)
               : 0;
}

/* Takes back edits n-1 .. 0.  Entries that exist are stored over, so apart from memory
 * running out for a class's deleted attribute nothing here can fail; the exception is kept. */
static void undo_edits(struct plan *plan, size_t n)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    while (n-- > 0) {
        if (plan->edits[n].done && undo_entry(&plan->edits[n]) < 0)
            PyErr_WriteUnraisable(plan->edits[n].container);
        plan->edits[n].done = false;
    }
    PyErr_Restore(type, value, traceback);
}

/* The engine has the addresses of elements of lists and rebuilds sets: they change size only
 * when it is done.  Memory that runs out then costs the element, not the change; deleting takes
 * none, but from a dict that shares its keys. */
static bool apply_rest(struct plan *plan)
{
    bool complete = true;

    for (size_t i = 0; i < plan->n_edits; i++) {
        if (!is_early(&plan->edits[i]) && apply_late(&plan->edits[i]) < 0) {
            PyErr_Clear();
            complete = false;
        }
    }
    return complete;
}

int plan_commit(struct plan *plan)
{
    bool complete;

    for (size_t i = 0; i < plan->n_edits; i++) {
        struct edit *edit = &plan->edits[i];

        /* The value of what is deleted later must outlive it: no __del__ before the end. */
        if ((is_early(edit) && apply_entry(plan, edit) < 0) ||
            (is_deletion(edit) && remember_old(plan, edit) < 0)) {
            undo_edits(plan, i + 1);
            return -1;
        }
    }
    if (remap_commit(plan->remap) < 0) {
        undo_edits(plan, plan->n_edits);
        return -1;
    }
    /* The change is made: what fails from here on cannot make it undone. */
    complete = apply_rest(plan);
    plan->verified = remap_verify(plan->remap) == 0 && complete;
    PyErr_Clear();
    return 0;
}

bool plan_verified(const struct plan *plan)
{
    return plan->verified;
}

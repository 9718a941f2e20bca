/* What the program did to a container, carried over into the one that takes its place (literal.h).
 */
#include "data.h"
#include "literal.h"

static int carry(struct pairing *, PyObject *live, PyObject *made, PyObject *description);

/* A definition that the new source does not have any more. */
static bool is_gone(const struct pairing *pairing, PyObject *value)
{
    return is_ours(pairing, value) && !remap_get(pairing->remap, value);
}

/* What the name's place in the new container is to hold: borrowed. */
static PyObject *value_to_keep(struct pairing *pairing, PyObject *live, PyObject *made)
{
    if (is_same_entry(pairing, live, made) ||
        (is_definition(pairing, live) && is_definition(pairing, made)))
        return made;
    return live;
}

static int keep_value(struct pairing *pairing, PyObject *live, PyObject *made)
{
    return is_immutable(live) || is_immutable(made) || is_definition(pairing, live) ||
                   !is_same_class(pairing, live, made)
               ? 0
               : merge_keep(pairing, live, made, NULL);
}

/* An entry of the new dict; `live`: what the old one has there, or NULL. */
static int carry_entry(struct pairing *pairing, PyObject *made, PyObject *key, PyObject *value,
                       PyObject *live, PyObject *state)
{
    bool described = state && !is_int(state);
    long known = state && !described ? PyLong_AsLong(state) : STATE_OTHER;
    bool same = known == STATE_SAME || known == STATE_COMPUTED;
    PyObject *kept;

    if (described)
        return live ? carry(pairing, live, value, state) : 0;
    if (state && !same)
        return 0;
    if (!live) /* taken out at run time; what is no part was registered by the new execution */
        return same ? PyDict_DelItem(made, key) : 0;
    if (known == STATE_COMPUTED && is_immutable(live) && is_immutable(value))
        return 0;
    kept = value_to_keep(pairing, live, value);
    if (kept == value)
        return pair_private(pairing, live, value);
    return keep_value(pairing, live, value) < 0 ? -1 : PyDict_SetItem(made, key, kept);
}

static PyObject *either(PyObject *dict, PyObject *key, PyObject *other)
{
    PyObject *value = dict_lookup(dict, key);

    return value || !other || !is_plain_key(other) ? value : dict_lookup(dict, other);
}

static int carry_dict(struct pairing *pairing, PyObject *live, PyObject *made, PyObject *states)
{
    PyObject *copy = PyDict_Copy(made), *key, *value;
    Py_ssize_t at = 0;
    int status = copy ? 0 : -1;

    while (status == 0 && PyDict_Next(copy, &at, &key, &value)) {
        PyObject *origin = pairing_origin(pairing, key);

        if (is_plain_key(key))
            status = carry_entry(pairing, made, key, value, either(live, key, origin),
                                 either(states, key, origin));
    }
    at = 0;
    while (status == 0 && PyDict_Next(live, &at, &key, &value)) {
        PyObject *now = pairing_final(pairing, key);

        if (is_plain_key(key) && !either(made, key, now) && !dict_lookup(states, key) &&
            !is_gone(pairing, value))
            status = PyDict_SetItem(made, key, value);
    }
    Py_DecRef(copy);
    return status;
}

static int carry_set(struct pairing *pairing, PyObject *live, PyObject *made, PyObject *states)
{
    PyObject *copy = PySequence_List(live), *element, *state;
    Py_ssize_t at = 0;
    int status = copy ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(copy); i++) {
        element = PyList_GetItem(copy, i);
        if (is_plain_key(element) && !dict_lookup(states, element) && !is_gone(pairing, element) &&
            PySet_Contains(made, pairing_final(pairing, element)) == 0)
            status = PySet_Add(made, element);
    }
    while (status == 0 && PyDict_Next(states, &at, &element, &state)) {
        if (PyLong_AsLong(state) == STATE_SAME && PySet_Contains(live, element) == 0 &&
            PySet_Discard(made, pairing_final(pairing, element)) < 0)
            status = -1;
    }
    Py_DecRef(copy);
    return status;
}

/* The parts of the new list that the old one has as well stay what they are. */
static int keep_elements(struct pairing *pairing, PyObject *live, PyObject *made, Py_ssize_t at,
                         PyObject *matches)
{
    for (Py_ssize_t i = 0; i < PyList_Size(matches) && i < PyList_Size(made); i++) {
        Py_ssize_t k = PyLong_AsSsize_t(PyList_GetItem(matches, i));
        PyObject *value = PyList_GetItem(made, i), *was, *kept;

        if (k < 0)
            continue;
        was = PyList_GetItem(live, at + k);
        if (is_immutable(was) && is_immutable(value))
            continue;
        kept = value_to_keep(pairing, was, value);
        if (kept == value && pair_private(pairing, was, value) < 0)
            return -1;
        if (kept == value)
            continue;
        if (keep_value(pairing, was, value) < 0)
            return -1;
        Py_IncRef(kept);
        if (PyList_SetItem(made, i, kept) < 0)
            return -1;
    }
    return 0;
}

/* Is the element, which is no part of the old display, in the new list from index `first` on? */
static bool is_registered(const struct pairing *pairing, PyObject *made, Py_ssize_t first,
                          PyObject *element)
{
    for (Py_ssize_t i = first; i < PyList_Size(made); i++) {
        if (is_same_entry(pairing, element, PyList_GetItem(made, i)))
            return true;
    }
    return false;
}

static int carry_list(struct pairing *pairing, PyObject *live, PyObject *made,
                      PyObject *description)
{
    Py_ssize_t at = PyLong_AsSsize_t(PyTuple_GetItem(description, 0));
    Py_ssize_t n = PyLong_AsSsize_t(PyTuple_GetItem(description, 1));
    PyObject *matches = PyTuple_GetItem(description, 2), *copy = PySequence_List(live);
    Py_ssize_t parts = PyList_Size(matches);
    int status = copy ? keep_elements(pairing, copy, made, at, matches) : -1;

    for (Py_ssize_t i = at + n; status == 0 && i < PyList_Size(copy); i++) {
        PyObject *element = PyList_GetItem(copy, i);

        if (!is_gone(pairing, element) && !is_registered(pairing, made, parts, element))
            status = PyList_Append(made, element);
    }
    for (Py_ssize_t i = at; status == 0 && i-- > 0;)
        status = PyList_Insert(made, 0, PyList_GetItem(copy, i));
    Py_DecRef(copy);
    return status;
}

static int carry(struct pairing *pairing, PyObject *live, PyObject *made, PyObject *description)
{
    if (type_of(live) != type_of(made) || pairing_add(pairing, live, made) < 0)
        return PyErr_Occurred() ? -1 : 0;
    if (is_list(made))
        return carry_list(pairing, live, made, description);
    return is_dict(made) ? carry_dict(pairing, live, made, description)
                         : carry_set(pairing, live, made, description);
}

int literal_carry_all(struct pairing *pairing)
{
    for (Py_ssize_t i = 0; i < PyList_Size(pairing->literals); i++) {
        PyObject *entry = PyList_GetItem(pairing->literals, i);

        if (carry(pairing, PyTuple_GetItem(entry, 0), PyTuple_GetItem(entry, 1),
                  PyTuple_GetItem(entry, 2)) < 0)
            return -1;
    }
    return 0;
}

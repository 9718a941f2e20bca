/* Registries by identity: `handlers[id(f)] = ...`, `(id(method.__self__), id(method.__func__))`
 * in dict keys, members of sets and tuples in lists, as the signals of Django and blinker have.
 *
 * The new execution registered with the id of a new object; after the remap there would be two
 * entries for one object.  That an int which equals an address is an identity is proven by
 * the execution itself: one container holds the key with the old id and the key with the new.
 * Only ids proven so are rewritten, everywhere in such places: in their place comes the id of
 * the object that stays. */
#include "identity.h"

#include "big.h"
#include "cpython/weakref.h"
#include "data.h"

enum { MAX_DEPTH = 4 }; /* of tuples in a key */

struct container {
    PyObject *object; /* strong */
    PyObject *stays;  /* borrowed: what it is merged into, or itself */
};

struct search {
    struct pairing *pairing;
    struct pointer_set known; /* all that pairs are made of */
    struct container *containers;
    size_t n, cap;
    PyObject *proven; /* set of addresses */
    bool failed;
};

/* --- ids */

/* What `value` may be the id of: not to be dereferenced. */
static PyObject *as_address(PyObject *value)
{
    int overflow;
    long address;

    if (type_of(value) != &PyLong_Type)
        return NULL;
    address = PyLong_AsLongAndOverflow(value, &overflow);
    return overflow || address <= 0 ? NULL : (PyObject *)address;
}

static bool is_id(const struct search *search, PyObject *value)
{
    PyObject *address = as_address(value);

    return address && pointer_set_has(&search->known, address);
}

/* An id, or a tuple with one. */
static bool has_id(const struct search *search, PyObject *key, int depth)
{
    if (type_of(key) != &PyTuple_Type)
        return is_id(search, key);
    for (Py_ssize_t i = 0; depth < MAX_DEPTH && i < PyTuple_Size(key); i++) {
        if (has_id(search, PyTuple_GetItem(key, i), depth + 1))
            return true;
    }
    return false;
}

/* The key with the ids of what stays: a new reference. */
static PyObject *final_key(const struct search *search, PyObject *key)
{
    PyObject *tuple;

    if (is_id(search, key))
        return PyLong_FromVoidPtr(pairing_final(search->pairing, as_address(key)));
    if (!has_id(search, key, 0)) {
        Py_IncRef(key);
        return key;
    }
    tuple = PyTuple_New(PyTuple_Size(key));
    for (Py_ssize_t i = 0; tuple && i < PyTuple_Size(key); i++) {
        PyObject *final = final_key(search, PyTuple_GetItem(key, i));

        if (!final || PyTuple_SetItem(tuple, i, final) < 0) {
            Py_DecRef(tuple);
            return NULL;
        }
    }
    return tuple;
}

bool is_same_identity(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *a = as_address(old), *b = as_address(new_);

    return a && b && pairing_final(pairing, a) == pairing_final(pairing, b);
}

/* --- containers */

/* The part of a list's element that is a key: the first with an id; borrowed, or NULL. */
static PyObject *element_key(const struct search *search, PyObject *element)
{
    if (type_of(element) != &PyTuple_Type)
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_Size(element); i++) {
        PyObject *part = PyTuple_GetItem(element, i);

        if (has_id(search, part, 1))
            return part;
    }
    return NULL;
}

/* The next key with an id of a dict, set or list, borrowed, or NULL.  *place: where it is, the
 * key itself or the list's element; *value: of a dict. */
static PyObject *next_key(const struct search *search, PyObject *container, Py_ssize_t *at,
                          PyObject **place, PyObject **value)
{
    PyObject *key;
    Py_hash_t hash;

    *value = NULL;
    if (is_list(container)) {
        while (*at < PyList_Size(container)) {
            *place = PyList_GetItem(container, (*at)++);
            key = *place ? element_key(search, *place) : NULL;
            if (key)
                return key;
        }
        return NULL;
    }
    while (is_dict(container) ? PyDict_Next(container, at, &key, value)
                              : _PySet_NextEntry(container, at, &key, &hash)) {
        *place = key;
        if (has_id(search, key, 0))
            return key;
    }
    return NULL;
}

/* Called for each object of the heap: no Python object may be made here. */
static int collect(PyObject *object, void *arg)
{
    struct search *search = arg;
    PyObject *place, *value;
    Py_ssize_t at = 0;

    if (!is_dict(object) && type_of(object) != &PyList_Type && type_of(object) != &PySet_Type)
        return 0;
    if (object == search->pairing->origin || !next_key(search, object, &at, &place, &value))
        return 0;
    if (!big_reserve(&search->containers, search->n, &search->cap, sizeof *search->containers)) {
        search->failed = true;
        return 1;
    }
    Py_IncRef(object);
    search->containers[search->n++] =
        (struct container){object, pairing_final(search->pairing, object)};
    return 0;
}

static int find_containers(struct search *search)
{
    PyObject *address, *other;
    Py_ssize_t at = 0;

    while (PyDict_Next(search->pairing->origin, &at, &address, &other)) {
        if (pointer_set_add(&search->known, as_address(address)) < 0 ||
            pointer_set_add(&search->known, other) < 0)
            return -1;
    }
    if (!search->known.n)
        return 0;
    if (heap_visit(collect, search) < 0)
        return -1;
    if (search->failed) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* --- proof */

/* What `of` has for a container, a dict, made at need: borrowed, or NULL with an exception. */
static PyObject *table_of(PyObject *of, PyObject *container)
{
    PyObject *address = PyLong_FromVoidPtr(container);
    PyObject *table = address ? PyDict_GetItemWithError(of, address) : NULL;

    if (address && !table && !PyErr_Occurred()) {
        table = PyDict_New();
        if (table && PyDict_SetItem(of, address, table) < 0) {
            Py_DecRef(table);
            table = NULL;
        }
        Py_DecRef(table); /* `of` has it */
    }
    Py_DecRef(address);
    return table;
}

static int prove_key(struct search *search, PyObject *key)
{
    if (is_id(search, key))
        return PySet_Add(search->proven, key);
    for (Py_ssize_t i = 0; has_id(search, key, 0) && i < PyTuple_Size(key); i++) {
        if (prove_key(search, PyTuple_GetItem(key, i)) < 0)
            return -1;
    }
    return 0;
}

/* `seen`: final key -> the first key seen in the container for it. */
static int compare(struct search *search, PyObject *seen, PyObject *key)
{
    PyObject *final = final_key(search, key), *first;
    int status = -1;

    if (!final)
        return -1;
    first = PyDict_GetItemWithError(seen, final);
    if (!first)
        status = PyErr_Occurred() ? -1 : PyDict_SetItem(seen, final, key);
    else if (same_value(first, key))
        status = 0;
    else if (prove_key(search, first) == 0)
        status = prove_key(search, key);
    Py_DecRef(final);
    return status;
}

/* What is merged into a container counts as in it. */
static int prove_all(struct search *search)
{
    PyObject *seen_in = PyDict_New();
    int status = seen_in ? 0 : -1;

    for (size_t i = 0; status == 0 && i < search->n; i++) {
        PyObject *seen = table_of(seen_in, search->containers[i].stays), *key, *place, *value;
        Py_ssize_t at = 0;

        status = seen ? 0 : -1;
        while (status == 0 &&
               (key = next_key(search, search->containers[i].object, &at, &place, &value)) != NULL)
            status = is_plain_key(key) ? compare(search, seen, key) : 0;
    }
    Py_DecRef(seen_in);
    return status;
}

/* 1, 0, -1 */
static int is_proven(const struct search *search, PyObject *key)
{
    int proven = 0;

    if (is_id(search, key))
        return PySet_Contains(search->proven, key);
    for (Py_ssize_t i = 0; proven == 0 && has_id(search, key, 0) && i < PyTuple_Size(key); i++)
        proven = is_proven(search, PyTuple_GetItem(key, i));
    return proven;
}

/* --- rewriting */

/* Of several entries for one object the value that was there first stays; but a weak reference
 * carries no state, and the last one knows the new key.  `seen`: the final keys so far. */
static int rewrite_entry(struct search *search, PyObject *dict, PyObject *seen, PyObject *key,
                         PyObject *final, PyObject *value)
{
    int known = PyDict_Contains(seen, final);

    if (known < 0 || PyDict_SetItem(seen, final, Py_None) < 0)
        return -1;
    if (same_value(key, final))
        return 0;
    return plan_rename(search->pairing->plan, dict, key, final, !known && !is_weakref(value));
}

static int rewrite_key(struct search *search, PyObject *container, PyObject *seen, PyObject *key,
                       PyObject *place, PyObject *value)
{
    struct plan *plan = search->pairing->plan;
    PyObject *final = final_key(search, is_list(container) ? place : key);
    int status = -1;

    if (!final)
        return -1;
    if (is_list(container))
        status = plan_replace(plan, container, place, final);
    else if (is_dict(container))
        status = rewrite_entry(search, container, seen, key, final, value);
    else if (same_value(key, final))
        status = 0;
    else if (plan_discard(plan, container, key) == 0)
        status = plan_add(plan, container, final);
    Py_DecRef(final);
    return status;
}

static int rewrite_container(struct search *search, const struct container *container,
                             PyObject *seen_in)
{
    PyObject *seen = table_of(seen_in, container->stays), *key, *place, *value;
    Py_ssize_t at = 0;

    if (!seen)
        return -1;
    while ((key = next_key(search, container->object, &at, &place, &value)) != NULL) {
        int proven = is_plain_key(key) ? is_proven(search, key) : 0;

        if (proven < 0 ||
            (proven && rewrite_key(search, container->stays, seen, key, place, value) < 0))
            return -1;
    }
    return 0;
}

/* What stays first: its values were there before those that are merged into it. */
static int rewrite_all(struct search *search)
{
    PyObject *seen_in = PyDict_New();
    int status = seen_in ? 0 : -1;

    for (int dropped = 0; dropped < 2; dropped++) {
        for (size_t i = 0; status == 0 && i < search->n; i++) {
            const struct container *container = &search->containers[i];

            if (dropped == (container->object != container->stays) &&
                !(dropped && is_list(container->object)))
                status = rewrite_container(search, container, seen_in);
        }
    }
    Py_DecRef(seen_in);
    return status;
}

int identities_follow(struct pairing *pairing)
{
    struct search search = {.pairing = pairing, .proven = PySet_New(NULL)};
    int status = -1;

    if (search.proven && find_containers(&search) == 0 && prove_all(&search) == 0)
        status = PySet_Size(search.proven) ? rewrite_all(&search) : 0;
    for (size_t i = 0; i < search.n; i++)
        Py_DecRef(search.containers[i].object);
    big_free(search.containers);
    pointer_set_clear(&search.known);
    Py_DecRef(search.proven);
    return status;
}

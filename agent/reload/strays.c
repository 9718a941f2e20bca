/* Taking what a failed execution made out of containers (strays.h).
 *
 * An entry that has an equivalent and was there before is left: the engine gives it the equivalent
 * afterwards, in its place. */
#include "strays.h"

#include "big.h"
#include "carriers.h"
#include "cpython/deque.h"
#include "cpython/introspect.h"
#include "cpython/shared_keys.h"
#include "remap/remap.h"

/* One thing to be done. */
struct removal {
    PyObject *container; /* or a class, whose dict is not to be changed past it, or an instance */
    PyObject *key;       /* of a dict, or element of a set; NULL: a list or deque */
    PyObject *value;     /* what the dict had there before; NULL: the entry was not there */
};

struct search {
    const struct births *births;
    const struct contents *contents;
    struct removal *found;
    size_t n, cap;
    struct pointer_set class_dicts;
    struct pointer_set carriers;
};

static bool is_carrier(const struct search *search, PyObject *object)
{
    return pointer_set_has(&search->carriers, object);
}

static bool is_made(const struct search *search, PyObject *object)
{
    return is_birth(search->births, object) || is_carrier(search, object);
}

static int add_removal(struct search *search, PyObject *container, PyObject *key, PyObject *value)
{
    if (big_reserve_or_raise(&search->found, search->n, &search->cap, sizeof *search->found) < 0)
        return -1;
    Py_IncRef(container);
    Py_IncRef(key);
    Py_IncRef(value);
    search->found[search->n++] = (struct removal){container, key, value};
    return 0;
}

static size_t count(PyObject *const *items, size_t n, size_t step, PyObject *object)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i += step)
        found += items[i] == object;
    return found;
}

/* --- dicts */

static bool is_ours(const struct search *search, PyObject *dict)
{
    for (size_t i = 0; i < search->births->n_dicts; i++) {
        if (search->births->dicts[i] == dict)
            return true;
    }
    return false;
}

/* Where the key's value is in what is known of a dict, or 0.  A key that was taken out and put in
 * again may be another object; one whose value is kept is kept too, and can be compared. */
static size_t find_value(const struct search *search, PyObject *const *known, size_t n,
                         PyObject *key)
{
    for (size_t i = 0; i < n; i += 2) {
        if (known[i] == key || (contents_kept(search->contents, known[i + 1]) && is_str(key) &&
                                is_str(known[i]) && PyUnicode_Compare(known[i], key) == 0))
            return i + 1;
    }
    return 0;
}

static int search_entry(struct search *search, PyObject *owner, PyObject *dict, PyObject *key,
                        PyObject *value)
{
    const struct birth *born_key = find_birth(search->births, key);
    bool stray = is_stray(search->births, key) || is_stray(search->births, value);
    size_t n = 0, at = 0;
    PyObject *const *known;

    if (!is_made(search, key) && !is_made(search, value))
        return 0;
    known = contents_of(search->contents, dict, &n);
    if (!known) /* a carrier was made since, and so was this container */
        return stray ? add_removal(search, owner, key, NULL) : 0;
    if (born_key && born_key->old)
        at =
            count(known, n, 2, born_key->old) && is_dict(dict) && !dict_lookup(dict, born_key->old);
    else if (!is_made(search, key))
        at = find_value(search, known, n, key);
    if (at && !born_key && (known[at] == Py_None || contents_kept(search->contents, known[at])))
        return add_removal(search, owner, key, known[at]);
    return at && !stray ? 0 : add_removal(search, owner, key, NULL);
}

/* `owner`: the dict, or the class that it belongs to. */
static int search_dict(struct search *search, PyObject *owner, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int status = 0;

    if (is_ours(search, dict))
        return 0;
    while (status == 0 && PyDict_Next(dict, &position, &key, &value))
        status = search_entry(search, owner, dict, key, value);
    return status;
}

/* The attributes of an instance that has no dict. */
static int search_attributes(struct search *search, PyObject *instance, PyObject *const *values)
{
    size_t n = shared_keys_count(type_of(instance));
    int status = 0;

    for (size_t i = 0; status == 0 && i < n; i++) {
        PyObject *name = shared_keys_name(type_of(instance), i);

        if (values[i])
            status = search_entry(search, instance, instance, name, values[i]);
    }
    return status;
}

/* --- sets */

static bool set_holds(PyObject *set, PyObject *object)
{
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t position = 0;

    while (_PySet_NextEntry(set, &position, &key, &hash)) {
        if (key == object)
            return true;
    }
    return false;
}

static int search_set(struct search *search, PyObject *set)
{
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && _PySet_NextEntry(set, &position, &key, &hash)) {
        const struct birth *birth = find_birth(search->births, key);
        size_t n = 0;
        PyObject *const *known;

        known = birth || is_carrier(search, key) ? contents_of(search->contents, set, &n) : NULL;
        if (is_stray(search->births, key) || (known && is_carrier(search, key)) ||
            (birth && birth->old &&
             (set_holds(set, birth->old) || (known && !count(known, n, 1, birth->old)))))
            status = add_removal(search, set, key, NULL);
    }
    return status;
}

/* --- lists */

static size_t count_in_list(PyObject *list, Py_ssize_t n, PyObject *object)
{
    size_t found = 0;

    for (Py_ssize_t i = 0; i < n; i++)
        found += PyList_GetItem(list, i) == object;
    return found;
}

/* Is the element one too many?  Of a list that is not known, it is if its equivalent is there. */
static bool is_surplus(const struct search *search, PyObject *list, Py_ssize_t i)
{
    PyObject *object = PyList_GetItem(list, i);
    const struct birth *birth = find_birth(search->births, object);
    PyObject *const *known;
    size_t n = 0, there;

    if (is_stray(search->births, object))
        return true;
    if (!birth && !is_carrier(search, object))
        return false;
    known = contents_of(search->contents, list, &n);
    if (!birth)
        return known && !count(known, n, 1, object);
    there = count_in_list(list, PyList_Size(list), birth->old);
    if (!known)
        return there > 0;
    return there + count_in_list(list, i, object) >= count(known, n, 1, birth->old);
}

static int search_list(struct search *search, PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (is_surplus(search, list, i))
            return add_removal(search, list, NULL, NULL);
    }
    return 0;
}

static void remove_from_list(const struct search *search, PyObject *list)
{
    for (Py_ssize_t i = PyList_Size(list) - 1; i >= 0; i--) {
        if (i < PyList_Size(list) && is_surplus(search, list, i) &&
            PyList_SetSlice(list, i, i + 1, NULL) < 0)
            return;
    }
}

/* --- deques: what one held is not known, but whether it was made since */

struct deque_search {
    const struct search *search;
    PyObject *deque;
    PyObject *wanted;    /* or NULL: any that is to go */
    Py_ssize_t i, found; /* -1: none */
};

static int is_wanted(PyObject **item, void *arg)
{
    struct deque_search *look = arg;

    if (*item == look->wanted)
        look->found = look->i;
    look->i++;
    return look->found >= 0;
}

static int is_surplus_in_deque(PyObject **item, void *arg)
{
    struct deque_search *look = arg;
    const struct birth *birth = find_birth(look->search->births, *item);
    struct deque_search old = {.wanted = birth ? birth->old : NULL, .found = -1};

    if (old.wanted)
        deque_each(look->deque, is_wanted, &old);
    if (old.found >= 0 || is_stray(look->search->births, *item) || is_carrier(look->search, *item))
        look->found = look->i;
    look->i++;
    return look->found >= 0;
}

/* The index of the first, or -1. */
static Py_ssize_t surplus_in_deque(const struct search *search, PyObject *deque)
{
    struct deque_search look = {.search = search, .deque = deque, .found = -1};

    deque_each(deque, is_surplus_in_deque, &look);
    return look.found;
}

static int search_deque(struct search *search, PyObject *deque)
{
    if (contents_made_since(search->contents, deque) || surplus_in_deque(search, deque) < 0)
        return 0;
    return add_removal(search, deque, NULL, NULL);
}

/* A subclass's own method is not asked. */
static void remove_from_deque(const struct search *search, PyObject *deque)
{
    PyObject *type = loaded_attribute("collections", "deque"), *done;
    Py_ssize_t i;

    while (type && (i = surplus_in_deque(search, deque)) >= 0) {
        done = PyObject_CallMethod(type, "__delitem__", "On", deque, i);
        if (!done)
            return;
        Py_DecRef(done);
    }
}

/* --- all */

static int note_class_dict(PyObject *object, void *arg)
{
    struct search *search = arg;

    return is_heap_class(object) ? pointer_set_add(&search->class_dicts, class_dict(object)) : 0;
}

static int search_object(PyObject *object, void *arg)
{
    struct search *search = arg;
    PyObject *const *values;

    if (is_heap_class(object))
        return search_dict(search, object, class_dict(object));
    if (is_dict(object))
        return pointer_set_has(&search->class_dicts, object) ? 0
                                                             : search_dict(search, object, object);
    if (is_list(object))
        return search_list(search, object);
    if (PyType_IsSubtype(type_of(object), &PySet_Type))
        return search_set(search, object);
    if (is_deque(object))
        return search_deque(search, object);
    values = shared_keys_any_values(object);
    return values ? search_attributes(search, object, values) : 0;
}

static void take_out_of_dict(PyObject *dict, PyObject *key, PyObject *value)
{
    if (value)
        PyDict_SetItem(dict, key, value);
    else if (PyType_IsSubtype(type_of(dict), &PyODict_Type))
        PyODict_DelItem(dict, key);
    else
        PyDict_DelItem(dict, key);
}

/* What cannot be taken out is left, and reported, unless memory was short: then -1. */
static int take_out(const struct search *search, const struct removal *removal)
{
    PyObject *container = removal->container, *dict;

    if (!removal->key && is_list(container)) {
        remove_from_list(search, container);
    } else if (!removal->key) {
        remove_from_deque(search, container);
    } else if (is_type(container)) {
        PyType_Type.tp_setattro(container, removal->key, removal->value);
    } else if (is_dict(container)) {
        take_out_of_dict(container, removal->key, removal->value);
    } else if (PyType_IsSubtype(type_of(container), &PySet_Type)) {
        PySet_Discard(container, removal->key);
    } else {
        dict = instance_dict(container);
        if (dict)
            take_out_of_dict(dict, removal->key, removal->value);
        Py_DecRef(dict);
    }
    return pass_over_error();
}

int strays_remove(const struct births *births, const struct contents *contents)
{
    struct search search = {.births = births, .contents = contents};
    int status = carriers_find(&search.carriers, births, contents);

    if (status == 0)
        status = heap_visit(note_class_dict, &search);
    if (status == 0)
        status = heap_visit(search_object, &search);
    for (size_t i = 0; i < search.n; i++) {
        if (status == 0)
            status = take_out(&search, &search.found[i]);
        Py_DecRef(search.found[i].container);
        Py_DecRef(search.found[i].key);
        Py_DecRef(search.found[i].value);
    }
    big_free(search.found);
    pointer_set_clear(&search.class_dicts);
    pointer_set_clear(&search.carriers);
    return status;
}

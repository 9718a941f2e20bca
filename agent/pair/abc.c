/* Abstract base classes: classes that others registered with the old one stay registered, and the
 * abstract methods of others' subclasses are counted again.
 *
 * Modules/_abc.c, 3.8 to 3.15: a class's `_abc_impl` is an object of type `_abc._abc_data` that
 * starts with three pointers to sets of weak references, made when first used: the registry, the
 * cache, the negative cache.  `_abc._get_dump` gives copies of them. */
#include "big.h"
#include "cpython/introspect.h"
#include "pairing.h"

struct abc_data {
    PyObject ob_base;
    PyObject *registry;
};

static PyObject *abc_data_of(PyObject *cls)
{
    return dict_get(class_dict(cls), "_abc_impl");
}

/* Calls a function of _abc with the class, unless its metaclass would run Python code to give
 * its attributes.  New reference, or NULL without an exception. */
static PyObject *call_abc(const char *function, PyObject *cls)
{
    PyObject *callable = loaded_attribute("_abc", function), *result = NULL;

    if (callable && type_of(cls)->tp_getattro == PyType_Type.tp_getattro)
        result = PyObject_CallFunctionObjArgs(callable, cls, NULL);
    drop_error();
    return result;
}

/* A copy of the registry: new reference to a set, or NULL without an exception. */
static PyObject *registry_copy(PyObject *cls)
{
    PyObject *dump = call_abc("_get_dump", cls), *set = NULL;

    if (dump && type_of(dump) == &PyTuple_Type && PyTuple_Size(dump) > 0)
        set = PyTuple_GetItem(dump, 0);
    set = set && type_of(set) == &PySet_Type ? set : NULL;
    Py_IncRef(set);
    Py_DecRef(dump);
    return set;
}

/* The registry itself, proven by its copy: borrowed, or NULL. */
static PyObject *registry_of(PyObject *cls, PyObject *copy)
{
    PyObject *data = abc_data_of(cls), *set;
    Py_ssize_t at = 0;
    Py_hash_t hash;
    PyObject *entry;

    if (!data || type_of(data)->tp_basicsize < (Py_ssize_t)sizeof(struct abc_data))
        return NULL;
    set = ((struct abc_data *)data)->registry;
    if (!set || PySet_Size(copy) == 0 || type_of(set) != &PySet_Type ||
        PySet_Size(set) != PySet_Size(copy))
        return NULL;
    while (_PySet_NextEntry(set, &at, &entry, &hash)) {
        if (PySet_Contains(copy, entry) != 1)
            return NULL;
    }
    return set;
}

/* Is the class that `reference` refers to, or its equivalent, in the set of weak references? */
static bool is_registered(const struct pairing *pairing, PyObject *set, PyObject *reference)
{
    PyObject *cls = weakref_target(reference), *entry;
    Py_ssize_t at = 0;
    Py_hash_t hash;

    while (_PySet_NextEntry(set, &at, &entry, &hash)) {
        PyObject *other = weakref_target(entry);

        if (other == cls || remap_get(pairing->remap, cls) == other)
            return true;
    }
    return false;
}

static int add_registrations(const struct pairing *pairing, PyObject *registry, PyObject *old)
{
    PyObject *reference;
    Py_ssize_t at = 0;
    Py_hash_t hash;

    while (_PySet_NextEntry(old, &at, &reference, &hash)) {
        if (type_of(reference) != &_PyWeakref_RefType || !weakref_target(reference) ||
            is_registered(pairing, registry, reference))
            continue;
        if (PySet_Add(registry, reference) < 0)
            return -1;
    }
    return 0;
}

/* The new class takes over the old one's data, or, if the new source registered classes
 * itself, the entries. */
static int share_registry(struct pairing *pairing, PyObject *old, PyObject *old_registry,
                          PyObject *new_, PyObject *new_registry)
{
    PyObject *registry = registry_of(new_, new_registry), *name;
    int status;

    if (PySet_Size(new_registry) > 0)
        return registry ? add_registrations(pairing, registry, old_registry) : 0;
    name = PyUnicode_InternFromString("_abc_impl");
    status = name ? PyType_Type.tp_setattro(new_, name, abc_data_of(old)) : -1;
    Py_DecRef(name);
    return status;
}

int pair_abc(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *old_registry, *new_registry;
    int status = 0;

    if (!abc_data_of(old) || !abc_data_of(new_))
        return 0;
    old_registry = registry_copy(old);
    new_registry = registry_copy(new_);
    if (old_registry && new_registry && PySet_Size(old_registry) > 0)
        status = share_registry(pairing, old, old_registry, new_, new_registry);
    Py_DecRef(old_registry);
    Py_DecRef(new_registry);
    return status;
}

/* --- all abstract classes */

struct classes {
    PyObject *name; /* "_abc_impl" */
    PyObject **at;  /* strong */
    size_t n, cap;
    bool failed;
};

/* Called for each object of the heap: no Python object may be made here. */
static int collect_abc(PyObject *object, void *arg)
{
    struct classes *classes = arg;

    if (!is_heap_class(object) || !PyDict_GetItemWithError(class_dict(object), classes->name))
        return 0;
    if (!big_reserve(&classes->at, classes->n, &classes->cap, sizeof *classes->at)) {
        classes->failed = true;
        return 1;
    }
    Py_IncRef(object);
    classes->at[classes->n++] = object;
    return 0;
}

/* --- abstract methods */

static PyObject *abstract_names(PyObject *cls)
{
    PyObject *names = is_heap_class(cls) ? dict_get(class_dict(cls), "__abstractmethods__") : NULL;

    return names && type_of(names) == &PyFrozenSet_Type ? names : NULL;
}

/* The class that `cls` will find the name in, as its bases will be: borrowed, or NULL. */
static PyObject *provider_of(const struct pairing *pairing, PyObject *cls, PyObject *name)
{
    PyObject *mro = ((PyTypeObject *)cls)->tp_mro;

    for (Py_ssize_t i = 0; i < PyTuple_Size(mro); i++) {
        PyObject *base = pairing_final(pairing, PyTuple_GetItem(mro, i));

        if (class_dict(base) && dict_lookup(class_dict(base), name))
            return base;
    }
    return NULL;
}

/* Adds the names of `base` that are still abstract in `cls`. */
static int add_abstract(const struct pairing *pairing, PyObject *cls, PyObject *base,
                        PyObject *found)
{
    PyObject *names = abstract_names(base), *name;
    Py_ssize_t at = 0;
    Py_hash_t hash;

    while (names && _PySet_NextEntry(names, &at, &name, &hash)) {
        PyObject *provider = is_str(name) ? provider_of(pairing, cls, name) : NULL;
        PyObject *own = provider ? abstract_names(provider) : NULL;

        if (own && PySet_Contains(own, name) == 1 && PySet_Add(found, name) < 0)
            return -1;
    }
    return 0;
}

/* ABCMeta counts the abstract methods when a class is made: others' subclasses of a class that is
 * replaced are counted again. */
static int update_abstract(const struct pairing *pairing, PyObject *cls)
{
    PyObject *mro = ((PyTypeObject *)cls)->tp_mro, *was = abstract_names(cls), *found, *name;
    bool affected = false;
    int status = 0;

    if (!mro || !was || is_ours(pairing, cls) || remap_get(pairing->remap, cls))
        return 0;
    for (Py_ssize_t i = 1; i < PyTuple_Size(mro); i++)
        affected |= remap_get(pairing->remap, PyTuple_GetItem(mro, i)) != NULL;
    found = affected ? PyFrozenSet_New(NULL) : NULL;
    if (!found)
        return affected ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(mro); i++)
        status = add_abstract(pairing, cls, pairing_final(pairing, PyTuple_GetItem(mro, i)), found);
    name = PyUnicode_InternFromString("__abstractmethods__");
    if (status == 0 && name && PyObject_RichCompareBool(found, was, Py_EQ) == 0)
        status = plan_set_type(pairing->plan, cls, name, found);
    Py_DecRef(found);
    Py_DecRef(name);
    return name ? status : -1;
}

static bool has_classes(const struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->n; i++) {
        if (pairing->modules[i].classes)
            return true;
    }
    return false;
}

int refresh_abc(struct pairing *pairing)
{
    struct classes classes = {0};
    int status;

    if (!has_classes(pairing))
        return 0;
    classes.name = PyUnicode_InternFromString("_abc_impl");
    if (!classes.name)
        return -1;
    status = heap_visit(collect_abc, &classes) < 0 ? -1 : 0;
    if (classes.failed) {
        PyErr_NoMemory();
        status = -1;
    }
    for (size_t i = 0; i < classes.n; i++) {
        PyObject *result = status == 0 ? call_abc("_reset_caches", classes.at[i]) : NULL;

        if (status == 0)
            status = update_abstract(pairing, classes.at[i]);
        Py_DecRef(result);
        Py_DecRef(classes.at[i]);
    }
    big_free(classes.at);
    Py_DecRef(classes.name);
    return status;
}

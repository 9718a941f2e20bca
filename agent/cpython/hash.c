#include "hash.h"

#define PRIME1     UINT64_C(11400714785074694791)
#define PRIME2     UINT64_C(14029467366897019727)
#define PRIME5     UINT64_C(2870177450012600261)
#define TUPLE_SALT (PRIME5 ^ UINT64_C(3527539))

Py_hash_t hash_pointer(const void *p)
{
    uintptr_t y = (uintptr_t)p;
    Py_hash_t h = (Py_hash_t)(y >> 4 | y << 60);

    return h == -1 ? -2 : h;
}

static uint64_t rotate_left(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static uint64_t round_of(uint64_t acc, Py_hash_t item)
{
    return rotate_left(acc + (uint64_t)item * PRIME2, 31) * PRIME1;
}

Py_hash_t hash_tuple(const Py_hash_t *items, size_t n)
{
    uint64_t acc = PRIME5;

    for (size_t i = 0; i < n; i++)
        acc = round_of(acc, items[i]);
    acc += n ^ TUPLE_SALT;
    return acc == UINT64_MAX ? 1546275796 : (Py_hash_t)acc;
}

/* The inverse of an odd number modulo 2**64; each step doubles the correct bits. */
static uint64_t inverse(uint64_t odd)
{
    uint64_t x = odd;

    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

Py_hash_t hash_tuple_item(const Py_hash_t *items, size_t n, size_t unknown, Py_hash_t whole)
{
    uint64_t before = PRIME5, after = (uint64_t)whole - (n ^ TUPLE_SALT);

    for (size_t i = 0; i < unknown; i++)
        before = round_of(before, items[i]);
    for (size_t i = n; i-- > unknown;) {
        after = rotate_left(after * inverse(PRIME1), 33);
        if (i > unknown)
            after -= (uint64_t)items[i] * PRIME2;
    }
    return (Py_hash_t)((after - before) * inverse(PRIME2));
}

static uint64_t shuffle(uint64_t h)
{
    return ((h ^ UINT64_C(89869747)) ^ (h << 16)) * UINT64_C(3644798167);
}

Py_hash_t hash_frozenset(const Py_hash_t *members, size_t n)
{
    uint64_t h = 0;

    for (size_t i = 0; i < n; i++)
        h ^= shuffle((uint64_t)members[i]);
    h ^= (n + 1) * UINT64_C(1927868237);
    h ^= (h >> 11) ^ (h >> 25);
    h = h * 69069 + UINT64_C(907133923);
    return h == UINT64_MAX ? 590923713 : (Py_hash_t)h;
}

bool tuple_caches_hash(void)
{
    /* sizeof(PyTupleObject) less one item: 24 to 3.13, 32 with ob_hash. */
    return PyTuple_Type.tp_basicsize == 32;
}

Py_hash_t *tuple_cached_hash(PyObject *tuple)
{
    return (Py_hash_t *)((PyVarObject *)tuple + 1);
}

static bool try_formulas(void)
{
    enum { N = 5 };
    PyObject *object = PyObject_CallObject((PyObject *)&PyBaseObject_Type, NULL);
    PyObject *text = PyUnicode_FromString("an item");
    PyObject *tuple = NULL, *frozen = NULL;
    Py_hash_t h[N];
    bool ok = false;

    if (object && text)
        tuple = PyTuple_Pack(N, object, text, Py_None, &PyType_Type, &PyDict_Type);
    if (tuple)
        frozen = PyFrozenSet_New(tuple);
    if (frozen) {
        Py_hash_t whole = PyObject_Hash(tuple);

        for (Py_ssize_t i = 0; i < N; i++)
            h[i] = PyObject_Hash(PyTuple_GetItem(tuple, i));
        ok = h[0] == hash_pointer(object) && whole == hash_tuple(h, N) &&
             h[2] == hash_tuple_item(h, N, 2, whole) && h[4] == hash_tuple_item(h, N, 4, whole) &&
             PyObject_Hash(frozen) == hash_frozenset(h, N) &&
             (!tuple_caches_hash() || *tuple_cached_hash(tuple) == whole) &&
             hashed_by_address(object) && hashed_by_address((PyObject *)&PyType_Type) &&
             !hashed_by_address(text);
        Py_DecRef(frozen);
    }
    if (tuple)
        Py_DecRef(tuple);
    if (text)
        Py_DecRef(text);
    if (object)
        Py_DecRef(object);
    PyErr_Clear();
    return ok;
}

bool hash_formulas_known(void)
{
    static enum { UNTRIED, NO, YES } known;

    if (known == UNTRIED)
        known = try_formulas() ? YES : NO;
    return known == YES;
}

bool hash_without_python(PyObject *object, Py_hash_t *hash)
{
    static PyTypeObject *const plain[] = {&PyLong_Type, &PyUnicode_Type, &PyBytes_Type,
                                          &PyFloat_Type};

    if (hashed_by_address(object)) {
        *hash = hash_pointer(object);
        return true;
    }
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (type_of(object)->tp_hash == plain[i]->tp_hash) {
            *hash = PyObject_Hash(object);
            return true;
        }
    }
    return false;
}

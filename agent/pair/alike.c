/* Which code object is which, among several of one name in one place of the source: lambdas,
 * functions called `_`.
 *
 * As many as before, with the same parameters, are one with each other in order, unless statements
 * changed places; otherwise what did not change is the same program, and what did change lies
 * beside that, or takes the same parameters. */
#include "data.h"
#include "pairing.h"

Py_ssize_t code_index(PyObject *list, PyObject *code)
{
    long line = code_number(code, "co_firstlineno");
    Py_ssize_t found = -1;

    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        PyObject *candidate = PyList_GetItem(list, i);

        if (program_same(code, candidate) != 1)
            continue;
        if (found < 0 || code_number(candidate, "co_firstlineno") == line)
            found = i;
    }
    drop_error();
    return found;
}

/* Where a code that changed is, told by its next neighbour that did not: the one after it, for
 * what is new is mostly put at an end, or the one before it. */
static Py_ssize_t beside_same(PyObject *old, PyObject *new_, Py_ssize_t index)
{
    for (Py_ssize_t i = index + 1; i < PyList_Size(old); i++) {
        Py_ssize_t same = code_index(new_, PyList_GetItem(old, i));

        if (same >= 0)
            return same - (i - index);
    }
    for (Py_ssize_t i = index; i-- > 0;) {
        Py_ssize_t same = code_index(new_, PyList_GetItem(old, i));

        if (same >= 0)
            return same + (index - i);
    }
    return index;
}

/* Do they take the same parameters, by the same names? */
static bool same_parameters(PyObject *a, PyObject *b)
{
    static const char *const numbers[] = {"co_argcount", "co_kwonlyargcount"};
    enum { VARIADIC = 0x0c }; /* CO_VARARGS and CO_VARKEYWORDS, Include/cpython/code.h */
    long n = 0, flags = code_number(a, "co_flags");
    PyObject *names_a, *names_b;
    bool same = ((flags ^ code_number(b, "co_flags")) & VARIADIC) == 0;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        n += code_number(a, numbers[i]);
        same = same && code_number(a, numbers[i]) == code_number(b, numbers[i]);
    }
    n += !!(flags & 4) + !!(flags & 8);
    names_a = code_attribute(a, "co_varnames");
    names_b = code_attribute(b, "co_varnames");
    same = same && names_a && names_b && PyTuple_Size(names_a) >= n && PyTuple_Size(names_b) >= n;
    for (Py_ssize_t i = 0; same && i < n; i++)
        same = PyUnicode_Compare(PyTuple_GetItem(names_a, i), PyTuple_GetItem(names_b, i)) == 0;
    Py_DecRef(names_a);
    Py_DecRef(names_b);
    drop_error();
    return same;
}

/* Is this one of `list` in neither of the lists but here, and does it take what `code` takes? */
static bool is_changed_alike(PyObject *list, Py_ssize_t i, PyObject *other, PyObject *code)
{
    PyObject *candidate = PyList_GetItem(list, i);

    return same_parameters(candidate, code) && code_index(other, candidate) < 0;
}

/* The `nth` of the changed codes in `list` that take what `code` takes, or -1. */
static Py_ssize_t nth_alike(PyObject *list, PyObject *other, PyObject *code, Py_ssize_t nth)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (is_changed_alike(list, i, other, code) && nth-- == 0)
            return i;
    }
    return -1;
}

static Py_ssize_t count_alike(PyObject *list, Py_ssize_t end, PyObject *other, PyObject *code)
{
    Py_ssize_t n = 0;

    for (Py_ssize_t i = 0; i < end; i++)
        n += is_changed_alike(list, i, other, code);
    return n;
}

/* A changed code among others: its neighbours tell the place, and the parameters whether it can
 * be that one.  -1: it is gone. */
static Py_ssize_t index_of_changed(PyObject *old, PyObject *new_, Py_ssize_t index)
{
    PyObject *code = PyList_GetItem(old, index), *found;
    Py_ssize_t at = beside_same(old, new_, index), alike;

    found = at >= 0 && at < PyList_Size(new_) ? PyList_GetItem(new_, at) : NULL;
    if (found && code_index(old, found) >= 0)
        found = NULL; /* that one only moved */
    if (found && same_parameters(code, found))
        return at;
    alike = nth_alike(new_, old, code, count_alike(old, index, new_, code));
    if (alike >= 0)
        return alike;
    /* With other parameters now, unless that one is what another became. */
    return found && nth_alike(old, new_, found, 0) < 0 ? at : -1;
}

/* The index of the nth code that is the same program, from 0 on, or -1. */
static Py_ssize_t nth_same(PyObject *list, PyObject *code, size_t nth)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (program_same(code, PyList_GetItem(list, i)) == 1 && nth-- == 0)
            return i;
    }
    return -1;
}

/* Of as many new codes as old ones: the one at its place, unless statements changed places.  Then
 * it is elsewhere, and both what is at its place now and what was there have only moved as well. */
static Py_ssize_t index_if_moved(PyObject *old, PyObject *new_, Py_ssize_t index)
{
    PyObject *code = PyList_GetItem(old, index), *here = PyList_GetItem(new_, index);
    Py_ssize_t there;
    size_t before = 0;

    if (program_same(code, here) == 1)
        return index;
    for (Py_ssize_t i = 0; i < index; i++)
        before += program_same(code, PyList_GetItem(old, i)) == 1;
    there = nth_same(new_, code, before);
    if (there < 0 || nth_same(new_, PyList_GetItem(old, there), 0) < 0 ||
        nth_same(old, here, 0) < 0)
        there = index;
    drop_error();
    return there;
}

/* Are there as many as before, each with the parameters of the one at its place? */
static bool are_in_order(PyObject *old, PyObject *new_)
{
    Py_ssize_t n = PyList_Size(old);
    bool in_order = n == PyList_Size(new_);

    for (Py_ssize_t i = 0; in_order && i < n; i++)
        in_order = same_parameters(PyList_GetItem(old, i), PyList_GetItem(new_, i));
    return in_order;
}

PyObject *code_for(PyObject *old, PyObject *new_, Py_ssize_t index)
{
    Py_ssize_t same;

    if (are_in_order(old, new_))
        return PyList_GetItem(new_, index_if_moved(old, new_, index));
    same = code_index(new_, PyList_GetItem(old, index));
    if (same < 0)
        same = index_of_changed(old, new_, index);
    return same >= 0 ? PyList_GetItem(new_, same) : NULL;
}

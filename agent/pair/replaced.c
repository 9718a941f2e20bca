/* Functions and classes that somebody replaced at run time by something else: a test double, or
 * what wraps the original. */
#include "pairing.h"

/* Could the source's statement for the name have made this object? */
static bool is_from_source(const struct scope *scope, const struct binding *made, PyObject *old,
                           PyObject *new_)
{
    if (made->kind == BINDS_FUNCTION)
        return is_type_alias(old) ||
               (type_of(old) == &PyFunction_Type && is_ours(scope->pairing, old) &&
                function_is_named(old, made->name));
    if (made->kind == BINDS_CLASS)
        return is_type(old) && is_ours(scope->pairing, old);
    if (type_of(old) != type_of(new_))
        return remap_get(scope->pairing->remap, (PyObject *)type_of(old)) ==
                   (PyObject *)type_of(new_) ||
               (is_ours(scope->pairing, (PyObject *)type_of(old)) &&
                is_ours(scope->pairing, (PyObject *)type_of(new_)));
    if (type_of(old) != &PyFunction_Type)
        return true;
    /* The closure of one and the same decorator. */
    return is_ours(scope->pairing, old) == is_ours(scope->pairing, new_) &&
           (is_ours(scope->pairing, old) || is_private(old) ||
            program_same(PyFunction_GetCode(old), PyFunction_GetCode(new_)) == 1);
}

int stays_replaced(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct binding *made = scope->old ? body_binding(scope->old, name) : NULL;
    PyObject *original;
    struct scope inner = *scope;
    int same;

    if (!made || !scope->new_ || !body_binds(scope->new_, name))
        return 0;
    same = body_same(scope->old, scope->new_, name);
    if (same < 0)
        return -1;
    if (is_from_source(scope, made, old, new_))
        return 0;
    if (PyErr_Occurred()) /* it compared, and could not */
        return -1;
    /* With decorators, or with another statement, the old kind of object is not known. */
    if (same == 0 && made->kind != BINDS_FUNCTION && made->kind != BINDS_CLASS)
        return 0;
    original = wrapped_function(scope->pairing, old, name, 0);
    if (original && type_of(new_) == &PyFunction_Type) {
        inner.name = name;
        inner.unchanged = same == 1;
        if (pair_values(&inner, original, new_) < 0)
            return -1;
        return 1;
    }
    return same;
}

/* Registrations that the new source makes with other arguments: `@on("start", 10)` became
 * `@on("start", 20)`, and a list has (10, old function) and should have (20, new function).
 *
 * The two are of one registration if they differ only in values that stand in the statement that
 * made the old definition, as constants or as the module's names. */
#include "data.h"

static const struct body *old_body(const struct pairing *pairing, PyObject *definition,
                                   const struct module_pair **module)
{
    *module = pairing_module(pairing, definition);
    return *module && (*module)->old_code ? &pairing->old_bodies[*module - pairing->modules] : NULL;
}

/* Is it the value that the instruction loads, or a part of that? */
static bool loads(const struct module_pair *module, const struct instruction *in, PyObject *value)
{
    PyObject *loaded = in->value || !in->name ? in->value : dict_lookup(module->old_dict, in->name);

    if (!loaded || same_value(loaded, value))
        return loaded;
    for (Py_ssize_t i = 0; type_of(loaded) == &PyTuple_Type && i < PyTuple_Size(loaded); i++) {
        if (same_value(PyTuple_GetItem(loaded, i), value))
            return true;
    }
    return false;
}

/* Does `value`, or if it is a tuple each of its parts, stand in the statement that made
 * `definition`? */
static bool stands_in_statement(const struct pairing *pairing, PyObject *definition,
                                PyObject *value)
{
    const struct module_pair *module;
    const struct body *body = old_body(pairing, definition, &module);
    PyTypeObject *type = is_type(definition) ? &PyType_Type : &PyFunction_Type;
    PyObject *name = body ? builtin_attribute(definition, type, "__name__") : NULL;
    const struct binding *binding = name ? body_binding(body, name) : NULL;
    bool found = false;

    for (size_t i = 0; binding && !found && i < binding->n; i++) {
        found = loads(module, &body->code.at[binding->first + i], value);
    }
    drop_error();
    Py_DecRef(name);
    if (found || type_of(value) != &PyTuple_Type)
        return found;
    for (Py_ssize_t i = 0; i < PyTuple_Size(value); i++) {
        if (!stands_in_statement(pairing, definition, PyTuple_GetItem(value, i)))
            return false;
    }
    return true;
}

/* The old function or class in the tuple that the new one has the successor of: borrowed, or NULL.
 */
static PyObject *definition_in(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(old); i++) {
        PyObject *a = PyTuple_GetItem(old, i), *b = PyTuple_GetItem(new_, i);

        if ((type_of(a) == &PyFunction_Type || is_type(a)) && a != b &&
            pairing_origin(pairing, b) == a)
            return a;
    }
    return NULL;
}

bool is_reworded(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *definition;

    if (type_of(old) != &PyTuple_Type || type_of(new_) != &PyTuple_Type ||
        PyTuple_Size(old) != PyTuple_Size(new_))
        return false;
    definition = definition_in(pairing, old, new_);
    if (!definition)
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_Size(old); i++) {
        PyObject *a = PyTuple_GetItem(old, i), *b = PyTuple_GetItem(new_, i);

        if (!is_repetition(pairing, a, b) &&
            (!is_immutable(a) || !is_immutable(b) || !stands_in_statement(pairing, definition, a)))
            return false;
    }
    return true;
}

/* Functions that run a replaced code object get the new one through `__code__`: the setter
 * checks the number of free variables and drops what is specialised for the function.
 * What runs the old code now goes on with it. */
#include "../cpython/descr.h"
#include "../cpython/introspect.h"
#include "engine.h"

static int set_code(PyObject *function, PyObject *code)
{
    PyObject *setter = builtin_descr(&PyFunction_Type, "__code__");

    return setter ? descr_set(setter, function, code) : -1;
}

/* func_set_code compares the closure's size with the code's free variables. */
static int fits(PyObject *function, PyObject *code)
{
    PyObject *closure = PyFunction_GetClosure(function);
    PyObject *free_names = PyObject_GetAttrString(code, "co_freevars");
    int fits;

    if (!free_names)
        return -1;
    fits = PyTuple_Size(free_names) == (closure ? PyTuple_Size(closure) : 0);
    Py_DecRef(free_names);
    return fits;
}

static ptrdiff_t code_resolve(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];

    if (!k->is_code || type_of(e->referrer) != &PyFunction_Type ||
        PyFunction_GetCode(e->referrer) != k->old)
        return 0;
    return fits(e->referrer, k->new_);
}

static int code_commit(struct remap *r, struct edge *e)
{
    return set_code(e->referrer, r->keys[e->key].new_);
}

static void code_undo(struct remap *r, struct edge *e)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (set_code(e->referrer, r->keys[e->key].old) < 0)
        PyErr_WriteUnraisable(e->referrer);
    PyErr_Restore(type, value, traceback);
}

const struct writer code_writer = {
    .kind = "code", .resolve = code_resolve, .commit = code_commit, .undo = code_undo};

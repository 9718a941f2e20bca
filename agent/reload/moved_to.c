/* Modules that take over what a module of the transaction had (moved_to.h).
 *
 * They were executed by the import system, in their own dict, so there is nothing to commit: the
 * pairing needs their code, as it says what they make and how. */
#include "moved_to.h"

#include "cpython/introspect.h"
#include "source/source.h"

/* Has it, under a name that `aside` does not make itself any more, something else than that had? */
static bool has_something_of(PyObject *dict, const struct aside *aside)
{
    PyObject *name, *old;
    Py_ssize_t at = 0;

    while (PyDict_Next(aside->before, &at, &name, &old)) {
        PyObject *here = is_str(name) && !is_dunder(name) ? dict_lookup(dict, name) : NULL;
        PyObject *now = here ? dict_lookup(aside->dict, name) : NULL;

        if (here && here != old && !is_module(here) && (!now || now == here || now == old))
            return true;
    }
    return false;
}

static const struct aside *split_module(const struct execution *e, PyObject *module)
{
    PyObject *dict = PyModule_GetDict(module);

    for (size_t i = 0; dict && i < e->n_executed; i++) {
        if (has_something_of(dict, &e->modules[i]))
            return &e->modules[i];
    }
    return NULL;
}

/* Without source, or with one that does not compile any more, nothing is known of what moved. */
static int add(PyObject *list, PyObject *name, PyObject *module, const struct aside *from)
{
    struct source source;
    PyObject *code = NULL, *before = PyDict_New(), *entry = NULL;
    int status = before ? source_read(&source, name, module) : -1;

    if (status == 0 && source.state == SOURCE_READ) {
        code = source_compile(&source);
        if (code)
            entry = PyTuple_Pack(5, name, module, code, before, from->name);
        else if (!PyErr_ExceptionMatches(PyExc_MemoryError))
            PyErr_Clear();
    }
    if (before)
        source_clear(&source);
    if (entry)
        status = PyList_Append(list, entry);
    else if (PyErr_Occurred())
        status = -1;
    Py_DecRef(entry);
    Py_DecRef(before);
    Py_DecRef(code);
    return status;
}

PyObject *moved_to(const struct execution *e)
{
    PyObject *imports = execution_imports(e);
    PyObject *list = imports ? PyList_New(0) : NULL;
    int status = list ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(imports); i++) {
        PyObject *entry = PyList_GetItem(imports, i);
        const struct aside *from = split_module(e, PyTuple_GetItem(entry, 1));

        if (from)
            status = add(list, PyTuple_GetItem(entry, 0), PyTuple_GetItem(entry, 1), from);
    }
    Py_DecRef(imports);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

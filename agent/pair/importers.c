/* `from mod import CONSTANT` in other modules.
 *
 * A definition is followed by rewriting references; a number or text that others hold may be
 * theirs.  So the other module's own bytecode has to say that this name was imported from
 * there, and its value has to be the very object.  Names handed on by a third module follow in
 * turn. */
#include <string.h>

#include "data.h"
#include "source/loaded.h"

/* One value that moved, and one module that may have imported it. */
struct import {
    struct pairing *pairing;
    PyObject *moved; /* (module, name, old, new) */
    PyObject *name, *module, *dict;
};

/* The code of a module that still runs, as __main__ does: from a frame.  New reference or
 * NULL. */
static PyObject *running_code(PyObject *dict)
{
    PyObject *current = loaded_attribute("sys", "_current_frames");
    PyObject *frames = current ? PyObject_CallFunctionObjArgs(current, NULL) : NULL;
    PyObject *thread, *frame, *code = NULL;
    Py_ssize_t at = 0;

    while (frames && !code && PyDict_Next(frames, &at, &thread, &frame)) {
        Py_IncRef(frame);
        while (frame && frame != Py_None && !code) {
            PyObject *globals = code_attribute(frame, "f_globals");
            PyObject *own = code_attribute(frame, "f_code"), *back;

            if (globals == dict && own && code_is_namespace(own))
                code = own;
            else
                Py_DecRef(own);
            Py_DecRef(globals);
            back = code_attribute(frame, "f_back");
            Py_DecRef(frame);
            frame = back;
        }
        Py_DecRef(frame);
    }
    Py_DecRef(frames);
    drop_error();
    return code;
}

static PyObject *code_of(const struct import *import)
{
    PyObject *code = loaded_guess(import->name, import->module);

    return code ? code : running_code(import->dict);
}

/* The absolute name of `from ..module import`: new reference, or NULL without an exception. */
static PyObject *absolute_name(const struct import *import, PyObject *module, long level)
{
    PyObject *package = dict_get(import->dict, "__package__"), *prefix, *name = NULL;
    Py_ssize_t end;

    if (level == 0) {
        Py_IncRef(module);
        return module;
    }
    if (!package || !is_str(package))
        return NULL;
    end = PyUnicode_GetLength(package);
    for (long i = 1; i < level && end > 0; i++)
        end = PyUnicode_FindChar(package, '.', 0, end, -1);
    prefix = end > 0 ? PyUnicode_Substring(package, 0, end) : NULL;
    if (prefix && PyUnicode_GetLength(module) > 0)
        name = PyUnicode_FromFormat("%U.%U", prefix, module);
    else if (prefix)
        name = (Py_IncRef(prefix), prefix);
    Py_DecRef(prefix);
    drop_error();
    return name;
}

static bool is_imported_from(const struct import *import, PyObject *module, long level)
{
    PyObject *name = absolute_name(import, module, level);
    bool same = name && PyUnicode_Compare(name, PyTuple_GetItem(import->moved, 0)) == 0;

    Py_DecRef(name);
    drop_error();
    return same;
}

static int follow(const struct import *import, PyObject *alias)
{
    PyObject *old = PyTuple_GetItem(import->moved, 2), *new_ = PyTuple_GetItem(import->moved, 3);
    PyObject *entry;
    int status;

    if (dict_lookup(import->dict, alias) != old)
        return 0;
    if (pairing_set(import->pairing, import->dict, alias, new_) < 0)
        return -1;
    entry = PyTuple_Pack(4, import->name, alias, old, new_);
    status = entry ? PyList_Append(import->pairing->moved, entry) : -1;
    Py_DecRef(entry);
    return status;
}

static bool is_public(PyObject *name)
{
    return PyUnicode_FindChar(name, '_', 0, 1, 1) != 0;
}

static int visit_import(void *arg, PyObject *module, long level, PyObject *name, PyObject *alias)
{
    const struct import *import = arg;
    PyObject *moved = PyTuple_GetItem(import->moved, 1);

    if (name ? PyUnicode_Compare(name, moved) != 0 : !is_public(moved))
        return 0;
    if (!is_imported_from(import, module, level))
        return 0;
    return follow(import, name ? alias : moved);
}

static int follow_in_module(const struct import *import)
{
    PyObject *code = code_of(import);
    struct body body;
    int status;

    if (!code)
        return 0;
    status = body_read(code, &body);
    if (status == 0) {
        status = body_imports(&body, visit_import, (void *)import);
        body_clear(&body);
    }
    Py_DecRef(code);
    return status;
}

static bool holds(PyObject *dict, PyObject *value)
{
    PyObject *key, *held;
    Py_ssize_t at = 0;

    while (PyDict_Next(dict, &at, &key, &held)) {
        if (held == value)
            return true;
    }
    return false;
}

/* A definition that cannot be paired, as a class that became a function: whoever has it under
 * a name has it from its module. */
static int follow_definition(const struct import *import)
{
    PyObject *key, *held;
    Py_ssize_t at = 0;

    while (PyDict_Next(import->dict, &at, &key, &held)) {
        if (held == PyTuple_GetItem(import->moved, 2) && is_str(key) &&
            pairing_set(import->pairing, import->dict, key, PyTuple_GetItem(import->moved, 3)) < 0)
            return -1;
    }
    return 0;
}

/* Modules of the standard library import nothing from the program's. */
static bool is_library(PyObject *dict)
{
    PyObject *file = dict_get(dict, "__file__");
    const char *path = file && is_str(file) ? PyUnicode_AsUTF8(file) : NULL;

    drop_error();
    return path && strstr(path, "/lib/python3") && !strstr(path, "-packages/");
}

static bool is_in_transaction(const struct pairing *pairing, PyObject *dict)
{
    for (size_t i = 0; i < pairing->n; i++) {
        if (pairing->modules[i].old_dict == dict)
            return true;
    }
    return false;
}

static int follow_everywhere(struct pairing *pairing, PyObject *moved)
{
    PyObject *modules = PyDict_Copy(PyImport_GetModuleDict()), *name, *module;
    bool definition = is_ours(pairing, PyTuple_GetItem(moved, 2));
    Py_ssize_t at = 0;
    int status = modules ? 0 : -1;

    while (status == 0 && PyDict_Next(modules, &at, &name, &module)) {
        struct import import = {.pairing = pairing, .moved = moved, .name = name};

        if (!is_str(name) || !is_module(module))
            continue;
        import.module = module;
        import.dict = PyModule_GetDict(module);
        if (!is_in_transaction(pairing, import.dict) && !is_library(import.dict) &&
            holds(import.dict, PyTuple_GetItem(moved, 2)))
            status = definition ? follow_definition(&import) : follow_in_module(&import);
    }
    Py_DecRef(modules);
    return status;
}

int importers_follow(struct pairing *pairing)
{
    for (Py_ssize_t i = 0; i < PyList_Size(pairing->moved); i++) {
        PyObject *moved = PyList_GetItem(pairing->moved, i);

        /* A pair that was found later moves all references anyway. */
        if (!remap_get(pairing->remap, PyTuple_GetItem(moved, 2)) &&
            follow_everywhere(pairing, moved) < 0)
            return -1;
    }
    return 0;
}

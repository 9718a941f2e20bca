/* Old code; old_code.h.
 *
 * Up to 3.10 code knows only its own last name.  So there all functions of the module, and of the
 * classes in it, that may be meant are looked at: the code is old if none of them runs it, and
 * the name is that of the nearest one in the source. */
#include "old_code.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/introspect.h"
#include "cpython/version.h"
#include "names.h"

enum {
    MAX_DEPTH = 6,   /* of classes in classes, and of functions in functions */
    CO_NESTED = 0x10 /* Include/code.h, Include/cpython/code.h: within a function */
};

static long code_number(PyObject *code, const char *attribute)
{
    PyObject *value = builtin_attribute(code, &PyCode_Type, attribute);
    long number = value ? PyLong_AsLong(value) : 0;

    Py_DecRef(value);
    return number;
}

/* What there is of `code` among the constants of `outer`, at any depth. */
enum defined { NO, NAMESAKE, ITSELF };

static enum defined is_defined_in(PyObject *outer, PyObject *code, PyObject *name, int depth)
{
    PyObject *constants = builtin_attribute(outer, &PyCode_Type, "co_consts");
    enum defined best = NO;

    for (Py_ssize_t i = 0; constants && best != ITSELF && i < PyTuple_Size(constants); i++) {
        PyObject *constant = PyTuple_GetItem(constants, i);
        enum defined found = NO;

        if (constant == code) {
            found = ITSELF;
        } else if (type_of(constant) == &PyCode_Type) {
            PyObject *own = builtin_attribute(constant, &PyCode_Type, "co_name");

            if (same_text(own, name))
                best = NAMESAKE;
            Py_DecRef(own);
            if (depth < MAX_DEPTH)
                found = is_defined_in(constant, code, name, depth + 1);
        }
        if (found > best)
            best = found;
    }
    Py_DecRef(constants);
    return best;
}

/* --- up to 3.10 */

struct search {
    PyObject *code, *name, *module;
    bool nested;
    long line;
    bool current;       /* somebody runs or defines this code */
    PyObject *qualname; /* of the nearest one in the source that does not; strong, or NULL */
    long distance;
};

static void suggest(struct search *search, PyObject *qualname, PyObject *code)
{
    long distance = labs(code_number(code, "co_firstlineno") - search->line);

    if (search->qualname && distance >= search->distance)
        return;
    Py_IncRef(qualname);
    Py_DecRef(search->qualname);
    search->qualname = qualname;
    search->distance = distance;
}

static void look_at_function(struct search *search, PyObject *function)
{
    PyObject *code = PyFunction_GetCode(function), *qualname = function_qualname(function);
    PyObject *name = qualname ? builtin_attribute(code, &PyCode_Type, "co_name") : NULL;
    enum defined defined;

    if (search->nested)
        defined = is_defined_in(code, search->code, search->name, 0);
    else
        defined = code == search->code ? ITSELF : same_text(name, search->name) ? NAMESAKE : NO;
    if (defined == ITSELF)
        search->current = true;
    else if (defined == NAMESAKE && qualname)
        suggest(search, qualname, code);
    Py_DecRef(name);
    Py_DecRef(qualname);
}

static void look_at_namespace(struct search *search, PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    while (!search->current && PyDict_Next(dict, &position, &key, &value)) {
        struct within within;

        if (is_heap_class(value)) {
            if (depth < MAX_DEPTH &&
                same_text(dict_get(class_dict(value), "__module__"), search->module))
                look_at_namespace(search, class_dict(value), depth + 1);
            continue;
        }
        look_within(&within, value);
        for (size_t i = 0; i < within.n; i++) {
            if (type_of(within.items[i]) == &PyFunction_Type &&
                same_text(dict_get(PyFunction_GetGlobals(within.items[i]), "__name__"),
                          search->module))
                look_at_function(search, within.items[i]);
        }
    }
}

/* The qualified name, a new reference, or NULL without an exception. */
static PyObject *search_module(PyObject *code, PyObject *module, PyObject *dict)
{
    struct search search = {
        .code = code,
        .name = builtin_attribute(code, &PyCode_Type, "co_name"),
        .module = module,
        .nested = code_number(code, "co_flags") & CO_NESTED,
        .line = code_number(code, "co_firstlineno"),
    };

    if (search.name && (search.nested || !name_is_local(search.name)))
        look_at_namespace(&search, dict, 0);
    Py_DecRef(search.name);
    if (!search.current)
        return search.qualname;
    Py_DecRef(search.qualname);
    return NULL;
}

/* --- from 3.11 on */

/* The name of the outermost function that the local one is defined in.  New reference, or NULL
 * without an exception. */
static PyObject *outermost_function(PyObject *qualname)
{
    const char *text = PyUnicode_AsUTF8(qualname), *local = text ? strstr(text, ".<locals>") : NULL;
    PyObject *name = local ? PyUnicode_FromStringAndSize(text, local - text) : NULL;

    PyErr_Clear();
    return name;
}

/* As search_module. */
static PyObject *resolve_name(PyObject *code, PyObject *dict)
{
    PyObject *qualname = builtin_attribute(code, &PyCode_Type, "co_qualname");
    PyObject *name = builtin_attribute(code, &PyCode_Type, "co_name");
    PyObject *outer = qualname ? outermost_function(qualname) : NULL;
    PyObject *top = outer ? outer : qualname;
    PyObject *value = top && !name_is_local(top) ? name_resolve(dict, top) : NULL;
    PyObject *other = value ? other_function(value, code, dict_get(dict, "__name__"), top) : NULL;
    bool old =
        other && (!outer || is_defined_in(PyFunction_GetCode(other), code, name, 0) != ITSELF);

    if (old)
        Py_IncRef(top);
    else
        top = NULL;
    Py_DecRef(qualname);
    Py_DecRef(name);
    Py_DecRef(outer);
    return top;
}

int old_code_name(PyObject *code, PyObject *globals, PyObject *sources, PyObject **name)
{
    PyObject *module = dict_get(globals, "__name__"), *dict = module_dict(module);
    PyObject *qualname = NULL;
    int result = 0;

    if (dict)
        qualname =
            cpython_minor() >= 11 ? resolve_name(code, dict) : search_module(code, module, dict);
    if (qualname && name_count_in_source(sources, module, qualname) == 1) {
        *name = PyUnicode_FromFormat("%U.%U", module, qualname);
        result = *name ? 1 : -1;
    }
    Py_DecRef(qualname);
    return result;
}

/* Where the byte code of a module is cached (cache_path.h).
 *
 * __cached__ to 3.14, else what the spec knows.  ModuleSpec.cached is a property in Python that
 * notes what it found, so where nobody asked before, as from 3.15 on, the path is put together
 * here by the rules of cache_from_source (Lib/importlib/_bootstrap_external.py, 3.8 to 3.15). */
#include "cache_path.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../cpython/introspect.h"

/* New reference to bytes; NULL without an exception: `path` is none. */
static PyObject *encode(PyObject *path)
{
    PyObject *bytes = path && is_str(path) ? PyUnicode_EncodeFSDefault(path) : NULL;

    drop_error();
    return bytes;
}

/* sys.implementation.cache_tag, "cpython-315": new reference to bytes, or NULL without an
 * exception. */
static PyObject *cache_tag(void)
{
    PyObject *implementation = PySys_GetObject("implementation");
    PyObject *tag = implementation ? PyObject_GetAttrString(implementation, "cache_tag") : NULL;
    PyObject *bytes = encode(tag);

    Py_DecRef(tag);
    drop_error();
    return bytes;
}

/* sys.flags.optimize: the N of -O; -1 without an exception if it cannot be known. */
static long optimization(void)
{
    PyObject *flags = PySys_GetObject("flags");
    PyObject *level = flags ? PyObject_GetAttrString(flags, "optimize") : NULL;
    long n = level && is_int(level) ? PyLong_AsLong(level) : -1;

    Py_DecRef(level);
    drop_error();
    return n;
}

/* "DIRECTORY/NAME.py" gives "DIRECTORY/__pycache__/NAME.TAG.pyc", under `prefix` if there is one.
 */
static PyObject *put_together(const char *source, const char *tag, const char *prefix)
{
    const char *slash = strrchr(source, '/'), *name = slash ? slash + 1 : source;
    const char *dot = strrchr(name, '.');
    int directory = slash ? (int)(slash - source + 1) : 0; /* with its slash */
    int base = dot && dot != name ? (int)(dot - name) : (int)strlen(name);
    char path[PATH_MAX], level[32] = "";
    long n = optimization();
    int size;

    if (n < 0 || (prefix && source[0] != '/') || strlen(source) >= sizeof path)
        return NULL;
    if (n > 0)
        snprintf(level, sizeof level, ".opt-%ld", n);
    if (prefix)
        size = snprintf(path, sizeof path, "%s%.*s%.*s.%s%s.pyc", prefix, directory, source, base,
                        name, tag, level);
    else
        size = snprintf(path, sizeof path, "%.*s__pycache__/%.*s.%s%s.pyc", directory, source, base,
                        name, tag, level);
    return size < (int)sizeof path ? PyBytes_FromStringAndSize(path, size) : NULL;
}

static PyObject *cache_of_source(PyObject *source)
{
    PyObject *path = encode(source), *tag = cache_tag(), *result = NULL;
    PyObject *prefix_object = PySys_GetObject("pycache_prefix");
    PyObject *prefix = encode(prefix_object);

    if (path && tag && (prefix || !prefix_object || prefix_object == Py_None))
        result = put_together(PyBytes_AsString(path), PyBytes_AsString(tag),
                              prefix ? PyBytes_AsString(prefix) : NULL);
    Py_DecRef(path);
    Py_DecRef(tag);
    Py_DecRef(prefix);
    drop_error();
    return result;
}

static bool is_source(PyObject *file)
{
    const char *text = is_str(file) ? PyUnicode_AsUTF8(file) : NULL;
    size_t length = text ? strlen(text) : 0;

    drop_error();
    return length > 3 && !strcmp(text + length - 3, ".py");
}

PyObject *cache_path(PyObject *module)
{
    PyObject *dict = PyModule_GetDict(module), *known = dict_get(dict, "__cached__");
    PyObject *spec = dict_get(dict, "__spec__"), *attributes, *origin, *result = NULL;

    if (known && known != Py_None)
        return encode(known);
    attributes = spec && spec != Py_None ? instance_dict(spec) : NULL;
    if (!attributes)
        return NULL;
    known = dict_get(attributes, "_cached");
    origin = dict_get(attributes, "origin");
    if (known && known != Py_None)
        result = encode(known);
    else if (dict_get(attributes, "_set_fileattr") == Py_True && origin && is_source(origin))
        result = cache_of_source(origin);
    Py_DecRef(attributes);
    return result;
}

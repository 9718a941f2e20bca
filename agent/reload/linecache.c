/* linecache.cache is a dict of file names in every version; linecache.checkcache, which would
 * also do, looks at the file's time only. */
#include "linecache.h"
#include "cpython/introspect.h"

void linecache_forget(PyObject *file)
{
    PyObject *linecache = dict_get(PyImport_GetModuleDict(), "linecache");
    PyObject *cache = linecache ? PyObject_GetAttrString(linecache, "cache") : NULL;

    if (file && cache && is_dict(cache) && PyDict_Contains(cache, file) == 1)
        PyDict_DelItem(cache, file);
    PyErr_Clear();
    Py_DecRef(cache);
}

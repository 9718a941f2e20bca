/* linecache.cache is a dict of file names in every version; linecache.checkcache, which would
 * also do, looks at the file's time only. */
#include "linecache.h"

void linecache_forget(PyObject *file)
{
    PyObject *linecache = PyDict_GetItemString(PyImport_GetModuleDict(), "linecache");
    PyObject *cache = linecache ? PyObject_GetAttrString(linecache, "cache") : NULL;

    if (file && cache && is_dict(cache) && PyDict_Contains(cache, file) == 1)
        PyDict_DelItem(cache, file);
    PyErr_Clear();
    Py_DecRef(cache);
}

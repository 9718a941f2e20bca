/* Defaults for instances that are older than a field of their dataclass (fields.h).
 *
 * A plain default is an attribute of the class and serves by itself, unless the class has slots;
 * the value of a default_factory would be missing.  Lib/dataclasses.py, all versions: the dict
 * __dataclass_fields__ has a Field for each name, with `default`, `default_factory` and
 * `_field_type`, which is _FIELD for what instances have. */
#include "fields.h"

#include "cpython/introspect.h"

/* __dataclass_fields__ as the class has or inherits it: borrowed, or NULL. */
static PyObject *fields_of(PyObject *cls)
{
    PyObject *name = PyUnicode_InternFromString("__dataclass_fields__");
    PyObject *fields = name ? _PyType_Lookup((PyTypeObject *)cls, name) : NULL;

    PyErr_Clear();
    Py_DecRef(name);
    return fields && is_dict(fields) ? fields : NULL;
}

PyObject *fields_added(PyObject *old_class, PyObject *new_class)
{
    PyObject *old = fields_of(old_class), *new_ = fields_of(new_class), *name, *field;
    PyObject *list = PyList_New(0);
    Py_ssize_t position = 0;
    int status = list ? 0 : -1;

    while (status == 0 && old && new_ && PyDict_Next(new_, &position, &name, &field)) {
        if (is_str(name) && !dict_lookup(old, name))
            status = PyList_Append(list, name);
    }
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* Is the attribute of the Field the object dataclasses.`constant`? */
static bool field_is(PyObject *field, const char *attribute, const char *constant)
{
    PyObject *value = PyObject_GetAttrString(field, attribute);
    bool same = value && value == loaded_attribute("dataclasses", constant);

    PyErr_Clear();
    Py_DecRef(value);
    return same;
}

/* New reference; NULL without an exception if the field has none. */
static PyObject *default_of(PyObject *field)
{
    PyObject *factory, *value;

    if (!field_is(field, "default", "MISSING"))
        return PyObject_GetAttrString(field, "default");
    if (field_is(field, "default_factory", "MISSING"))
        return NULL;
    factory = PyObject_GetAttrString(field, "default_factory");
    value = factory ? PyObject_CallObject(factory, NULL) : NULL;
    Py_DecRef(factory);
    return value;
}

/* Without __getattr__ and __setattr__ of the class: a frozen one refuses. */
static int fill(PyObject *object, PyObject *name, PyObject *field)
{
    PyObject *value = PyObject_GenericGetAttr(object, name);
    int status;

    if (!value && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    Py_DecRef(value);
    if (value || !field_is(field, "_field_type", "_FIELD"))
        return 0;
    value = default_of(field);
    if (!value)
        return PyErr_Occurred() ? -1 : 0;
    status = PyObject_GenericSetAttr(object, name, value);
    Py_DecRef(value);
    return status;
}

int fields_fill(PyObject *object, PyObject *names)
{
    PyObject *error[3] = {NULL};

    for (Py_ssize_t i = 0; i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *fields = fields_of((PyObject *)type_of(object));
        PyObject *field = fields ? dict_lookup(fields, name) : NULL;

        if (field && fill(object, name, field) < 0) {
            if (error[0])
                PyErr_Clear();
            else
                PyErr_Fetch(&error[0], &error[1], &error[2]);
        }
    }
    if (!error[0])
        return 0;
    PyErr_Restore(error[0], error[1], error[2]);
    return -1;
}

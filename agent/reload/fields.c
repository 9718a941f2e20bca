/* Defaults for instances that are older than a field of their class (fields.h).
 *
 * A plain default is an attribute of the class and serves by itself, unless the class has slots;
 * the value of a default_factory would be missing.  Lib/dataclasses.py, all versions: the dict
 * __dataclass_fields__ has a Field for each name, with `default`, `default_factory` and
 * `_field_type`, which is _FIELD for what instances have.
 *
 * Of attrs (attr/_make.py, 17.3 on): the tuple __attrs_attrs__ has an Attribute for each, with
 * `name` and `default`, which may be NOTHING or a Factory.  Of pydantic 1 (pydantic/fields.py): the
 * dict __fields__ has a ModelField for each, with `required` and get_default().  Of pydantic 2: the
 * dict __pydantic_fields__ (model_fields before 2.10, pydantic/_internal/_model_construction.py)
 * has a FieldInfo for each, with is_required() and get_default(). */
#include "fields.h"

#include "cpython/introspect.h"

/* As the class has or inherits it: borrowed, or NULL. */
static PyObject *class_attribute(PyObject *cls, const char *attribute)
{
    PyObject *name = PyUnicode_InternFromString(attribute);
    PyObject *value = name ? _PyType_Lookup((PyTypeObject *)cls, name) : NULL;

    PyErr_Clear();
    Py_DecRef(name);
    return value;
}

/* Adds an attr.Attribute to the dict. */
static int add_attribute(PyObject *fields, PyObject *attribute)
{
    PyObject *name = PyObject_GetAttrString(attribute, "name");
    int status = name && is_str(name) ? PyDict_SetItem(fields, name, attribute) : -1;

    Py_DecRef(name);
    return status;
}

static bool is_model_field(PyObject *object)
{
    return (PyObject *)type_of(object) == loaded_attribute("pydantic.fields", "ModelField");
}

static bool is_field_info(PyObject *object)
{
    return (PyObject *)type_of(object) == loaded_attribute("pydantic.fields", "FieldInfo");
}

/* Borrowed, or NULL. */
static PyObject *fields_of_model(PyObject *cls)
{
    static const char *const names[] = {"__pydantic_fields__", "model_fields", "__fields__"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        PyObject *fields = class_attribute(cls, names[i]), *name, *field;
        Py_ssize_t position = 0;

        if (fields && is_dict(fields) && PyDict_Next(fields, &position, &name, &field) &&
            (is_field_info(field) || is_model_field(field)))
            return fields;
    }
    return NULL;
}

static bool has_fields(PyObject *cls)
{
    return class_attribute(cls, "__dataclass_fields__") ||
           class_attribute(cls, "__attrs_attrs__") || fields_of_model(cls);
}

/* Name -> Field or Attribute: new reference to a dict that is empty if the class is neither a
 * dataclass nor one of attrs.  NULL with MemoryError. */
static PyObject *fields_of(PyObject *cls)
{
    PyObject *of_dataclass = class_attribute(cls, "__dataclass_fields__");
    PyObject *of_attrs = class_attribute(cls, "__attrs_attrs__"), *fields;

    if (!of_dataclass)
        of_dataclass = fields_of_model(cls);
    if (of_dataclass && is_dict(of_dataclass)) {
        Py_IncRef(of_dataclass);
        return of_dataclass;
    }
    fields = PyDict_New();
    for (Py_ssize_t i = 0; fields && of_attrs && is_tuple(of_attrs) && i < PyTuple_Size(of_attrs);
         i++) {
        if (add_attribute(fields, PyTuple_GetItem(of_attrs, i)) < 0 && pass_over_error() < 0) {
            Py_DecRef(fields);
            return NULL;
        }
    }
    return fields;
}

PyObject *fields_added(PyObject *old_class, PyObject *new_class)
{
    PyObject *old = fields_of(old_class), *new_ = fields_of(new_class), *name, *field;
    PyObject *list = PyList_New(0);
    Py_ssize_t position = 0;
    int status = list && old && new_ ? 0 : -1;

    while (status == 0 && has_fields(old_class) && PyDict_Next(new_, &position, &name, &field)) {
        if (is_str(name) && !dict_lookup(old, name))
            status = PyList_Append(list, name);
    }
    Py_DecRef(old);
    Py_DecRef(new_);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* Is the attribute of the field the object module.`constant`? */
static bool field_is(PyObject *field, const char *attribute, const char *module,
                     const char *constant)
{
    PyObject *value = PyObject_GetAttrString(field, attribute);
    bool same = value && value == loaded_attribute(module, constant);

    PyErr_Clear();
    Py_DecRef(value);
    return same;
}

/* attr.Factory(factory, takes_self).  New reference. */
static PyObject *made_by(PyObject *factory, PyObject *object)
{
    PyObject *function = PyObject_GetAttrString(factory, "factory");
    PyObject *takes_self = PyObject_GetAttrString(factory, "takes_self");
    PyObject *value = NULL;
    int with_self = takes_self ? PyObject_IsTrue(takes_self) : -1;

    if (function && with_self >= 0)
        value = PyObject_CallFunctionObjArgs(function, with_self ? object : NULL, NULL);
    Py_DecRef(function);
    Py_DecRef(takes_self);
    return value;
}

static PyObject *default_of_model_field(PyObject *field)
{
    PyObject *required = PyObject_GetAttrString(field, "required");
    int is_required = required ? PyObject_IsTrue(required) : -1;

    Py_DecRef(required);
    return is_required ? NULL : PyObject_CallMethod(field, "get_default", NULL);
}

/* From 2.10 on a default factory may take the fields that the instance has. */
static PyObject *default_of_field_info(PyObject *field, PyObject *object)
{
    PyObject *required = PyObject_CallMethod(field, "is_required", NULL);
    PyObject *takes_data, *method, *arguments, *keywords, *value = NULL;
    int is_required = required ? PyObject_IsTrue(required) : -1;

    Py_DecRef(required);
    if (is_required)
        return NULL;
    takes_data = PyObject_GetAttrString(field, "default_factory_takes_validated_data");
    PyErr_Clear();
    method = PyObject_GetAttrString(field, "get_default");
    arguments = PyTuple_New(0);
    keywords = Py_BuildValue("{sO}", "call_default_factory", Py_True);
    if (takes_data && keywords) {
        PyObject *data = instance_dict(object);

        if (data && PyDict_SetItemString(keywords, "validated_data", data) < 0) {
            Py_DecRef(keywords);
            keywords = NULL;
        }
        Py_DecRef(data);
    }
    if (method && arguments && keywords)
        value = PyObject_Call(method, arguments, keywords);
    Py_DecRef(takes_data);
    Py_DecRef(method);
    Py_DecRef(arguments);
    Py_DecRef(keywords);
    return value;
}

static PyObject *default_of_attribute(PyObject *field, PyObject *object)
{
    PyObject *value, *made;

    if (field_is(field, "default", "attr", "NOTHING"))
        return NULL;
    value = PyObject_GetAttrString(field, "default");
    if (!value || (PyObject *)type_of(value) != loaded_attribute("attr", "Factory"))
        return value;
    made = made_by(value, object);
    Py_DecRef(value);
    return made;
}

/* New reference; NULL without an exception if the field has none. */
static PyObject *default_of(PyObject *field, PyObject *object)
{
    PyObject *factory, *value;

    if ((PyObject *)type_of(field) == loaded_attribute("attr", "Attribute"))
        return default_of_attribute(field, object);
    if (is_model_field(field))
        return default_of_model_field(field);
    if (is_field_info(field))
        return default_of_field_info(field, object);
    if (!field_is(field, "_field_type", "dataclasses", "_FIELD"))
        return NULL;
    if (!field_is(field, "default", "dataclasses", "MISSING"))
        return PyObject_GetAttrString(field, "default");
    if (field_is(field, "default_factory", "dataclasses", "MISSING"))
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
    if (value)
        return 0;
    value = default_of(field, object);
    if (!value)
        return PyErr_Occurred() ? -1 : 0;
    status = PyObject_GenericSetAttr(object, name, value);
    Py_DecRef(value);
    return status;
}

/* A subclass of another module has the fields that its base had when it was made.  A model may not
 * have others than its own: its serializer knows those. */
static PyObject *field_named(PyObject *fields, PyObject *inherited, PyObject *name)
{
    PyObject *field = dict_lookup(fields, name);

    if (!field && (field = dict_lookup(inherited, name)) &&
        (is_model_field(field) || is_field_info(field)))
        return NULL;
    return field;
}

int fields_fill(PyObject *object, PyObject *new_class, PyObject *names)
{
    PyObject *fields = fields_of((PyObject *)type_of(object)), *inherited = fields_of(new_class);
    PyObject *error[3] = {NULL};

    if (!fields || !inherited) {
        Py_DecRef(fields);
        Py_DecRef(inherited);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *field = field_named(fields, inherited, name);

        if (field && fill(object, name, field) < 0) {
            if (error[0])
                PyErr_Clear();
            else
                PyErr_Fetch(&error[0], &error[1], &error[2]);
        }
    }
    Py_DecRef(fields);
    Py_DecRef(inherited);
    if (!error[0])
        return 0;
    PyErr_Restore(error[0], error[1], error[2]);
    return -1;
}

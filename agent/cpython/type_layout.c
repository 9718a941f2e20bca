#include "type_layout.h"

#include "descr.h"
#include "introspect.h"

/* The collector's head, and from 3.11 on Py_TPFLAGS_INLINE_VALUES (3.13), MANAGED_WEAKREF (3.12)
 * and MANAGED_DICT; Include/object.h.  Before, no type has the last three. */
enum { LAYOUT_FLAGS = Py_TPFLAGS_HAVE_GC | 1 << 2 | 1 << 3 | 1 << 4 };

/* subtype_dealloc of Objects/typeobject.c, as a class has it that every process has. */
static destructor python_dealloc(void)
{
    static destructor dealloc;
    PyObject *module, *class;

    if (dealloc)
        return dealloc;
    module = dict_get(PyImport_GetModuleDict(), "_frozen_importlib");
    class = module ? PyObject_GetAttrString(module, "ModuleSpec") : NULL;
    if (class && is_type(class) && type_has((PyTypeObject *)class, Py_TPFLAGS_HEAPTYPE))
        dealloc = ((PyTypeObject *)class)->tp_dealloc;
    PyErr_Clear();
    if (class)
        Py_DecRef(class);
    return dealloc;
}

bool type_is_python(const PyTypeObject *type)
{
    return type_has(type, Py_TPFLAGS_HEAPTYPE) && python_dealloc() &&
           type->tp_dealloc == python_dealloc();
}

static size_t count_members(PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    size_t n = 0;

    while (PyDict_Next(dict, &pos, &name, &value))
        n += type_of(value) == &PyMemberDescr_Type;
    return n;
}

/* Have the classes' own __slots__ the same names at the same offsets? */
static bool same_members(PyTypeObject *a, PyTypeObject *b)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    if (count_members(a->tp_dict) != count_members(b->tp_dict))
        return false;
    while (PyDict_Next(a->tp_dict, &pos, &name, &value)) {
        PyObject *other;

        if (type_of(value) != &PyMemberDescr_Type)
            continue;
        other = PyDict_GetItemWithError(b->tp_dict, name);
        if (!other || type_of(other) != &PyMemberDescr_Type ||
            member_of(other)->offset != member_of(value)->offset ||
            member_of(other)->type != member_of(value)->type)
            return false;
    }
    return true;
}

/* Does `type` add nothing to the layout of its base?  compatible_with_tp_base of
 * Objects/typeobject.c. */
static bool adds_nothing(const PyTypeObject *type)
{
    const PyTypeObject *base = type->tp_base;

    return base && type_is_python(type) && type->tp_basicsize == base->tp_basicsize &&
           type->tp_itemsize == base->tp_itemsize && type->tp_dictoffset == base->tp_dictoffset &&
           type->tp_weaklistoffset == base->tp_weaklistoffset;
}

bool type_layout_equal(PyTypeObject *a, PyTypeObject *b)
{
    for (;;) {
        while (adds_nothing(a))
            a = a->tp_base;
        while (adds_nothing(b))
            b = b->tp_base;
        if (a == b)
            return true;
        if (!type_is_python(a) || !type_is_python(b) || a->tp_basicsize != b->tp_basicsize ||
            a->tp_itemsize != b->tp_itemsize || a->tp_dictoffset != b->tp_dictoffset ||
            a->tp_weaklistoffset != b->tp_weaklistoffset || a->tp_free != b->tp_free ||
            ((a->tp_flags ^ b->tp_flags) & LAYOUT_FLAGS) || !same_members(a, b))
            return false;
        a = a->tp_base;
        b = b->tp_base;
    }
}

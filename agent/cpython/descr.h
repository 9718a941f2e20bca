/* The front of descriptors and PyMemberDef: Include/descrobject.h and
 * Include/structmember.h, from 3.12 Include/cpython/descrobject.h. */
#ifndef PYHOT_CPYTHON_DESCR_H
#define PYHOT_CPYTHON_DESCR_H

#include "api.h"

struct member_def {
    const char *name;
    int type;
    Py_ssize_t offset;
    int flags;
    const char *doc;
};

struct member_descr {
    PyObject ob_base;
    PyTypeObject *d_type;
    PyObject *d_name, *d_qualname;
    struct member_def *d_member;
};

/* The class a member or getset descriptor belongs to. */
static inline PyTypeObject *descr_type(const PyObject *descr)
{
    return ((const struct member_descr *)descr)->d_type;
}

/* Of a PyMemberDescr_Type: where the slot is. */
static inline const struct member_def *member_of(const PyObject *descr)
{
    return ((const struct member_descr *)descr)->d_member;
}

/* descr.__set__(object, value), past everything that could be overridden.  0 or -1. */
static inline int descr_set(PyObject *descr, PyObject *object, PyObject *value)
{
    int (*set)(PyObject *, PyObject *, PyObject *) = type_of(descr)->tp_descr_set;

    return set(descr, object, value);
}

#endif

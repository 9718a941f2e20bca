/* The object layouts that are the same in CPython 3.8 to 3.15 (GIL builds, no
 * Py_TRACE_REFS): Include/cpython/object.h, Include/moduleobject.h, ...
 *
 * The agent is one binary for all of them, so it does not include Python.h.
 * tests/unit/layout compares every field here with the real headers. */
#ifndef PYHOT_CPYTHON_OBJECT_H
#define PYHOT_CPYTHON_OBJECT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef Py_PYTHON_H

typedef ssize_t Py_ssize_t;
typedef Py_ssize_t Py_hash_t;
typedef struct _object PyObject;
typedef struct _typeobject PyTypeObject;
typedef struct _ts PyThreadState;
typedef struct _is PyInterpreterState;

typedef int (*visitproc)(PyObject *, void *);
typedef int (*traverseproc)(PyObject *, visitproc, void *);
typedef PyObject *(*getattrofunc)(PyObject *, PyObject *);
typedef int (*setattrofunc)(PyObject *, PyObject *, PyObject *);
typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef void (*destructor)(PyObject *);
typedef Py_hash_t (*hashfunc)(PyObject *);
typedef int PyGILState_STATE; /* an enum of two */
typedef struct _frame PyFrameObject;
typedef struct PyCompilerFlags PyCompilerFlags;

/* ob_refcnt is not to be read as it stands from 3.12 on: cpython/refcount.h. */
struct _object {
    Py_ssize_t ob_refcnt;
    PyTypeObject *ob_type;
};

typedef struct {
    PyObject ob_base;
    Py_ssize_t ob_size;
} PyVarObject;

/* Only the front part: what follows tp_vectorcall differs between versions. */
struct _typeobject {
    PyVarObject ob_base;
    const char *tp_name;
    Py_ssize_t tp_basicsize, tp_itemsize;
    destructor tp_dealloc;
    Py_ssize_t tp_vectorcall_offset;
    void *tp_getattr, *tp_setattr, *tp_as_async;
    void *tp_repr;
    void *tp_as_number, *tp_as_sequence, *tp_as_mapping;
    hashfunc tp_hash;
    void *tp_call, *tp_str;
    getattrofunc tp_getattro;
    setattrofunc tp_setattro;
    void *tp_as_buffer;
    unsigned long tp_flags;
    const char *tp_doc;
    traverseproc tp_traverse;
    int (*tp_clear)(PyObject *);
    void *tp_richcompare;
    Py_ssize_t tp_weaklistoffset;
    void *tp_iter, *tp_iternext;
    void *tp_methods, *tp_members, *tp_getset;
    PyTypeObject *tp_base;
    PyObject *tp_dict; /* NULL for static builtin types from 3.12 on */
    void *tp_descr_get, *tp_descr_set;
    Py_ssize_t tp_dictoffset;
    void *tp_init, *tp_alloc, *tp_new, *tp_free, *tp_is_gc;
    PyObject *tp_bases, *tp_mro, *tp_cache;
    void *tp_subclasses;
    PyObject *tp_weaklist;
    void *tp_del;
    unsigned int tp_version_tag;
    void *tp_finalize;
    void *tp_vectorcall;
};

typedef struct {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

typedef struct {
    PyObject ob_base;
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
} PyModuleDef_Base;

typedef struct PyModuleDef {
    PyModuleDef_Base m_base;
    const char *m_name, *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    void *m_slots;
    traverseproc m_traverse;
    int (*m_clear)(PyObject *);
    void (*m_free)(void *);
} PyModuleDef;

typedef struct {
    int slot;
    void *pfunc;
} PyType_Slot;

typedef struct {
    const char *name;
    int basicsize, itemsize;
    unsigned int flags;
    PyType_Slot *slots;
} PyType_Spec;

#define METH_VARARGS  0x0001
#define METH_KEYWORDS 0x0002
#define METH_NOARGS   0x0004
#define METH_O        0x0008

#define Py_TPFLAGS_HEAPTYPE         (1UL << 9)
#define Py_TPFLAGS_HAVE_GC          (1UL << 14)
#define Py_TPFLAGS_LONG_SUBCLASS    (1UL << 24)
#define Py_TPFLAGS_LIST_SUBCLASS    (1UL << 25)
#define Py_TPFLAGS_TUPLE_SUBCLASS   (1UL << 26)
#define Py_TPFLAGS_BYTES_SUBCLASS   (1UL << 27)
#define Py_TPFLAGS_UNICODE_SUBCLASS (1UL << 28)
#define Py_TPFLAGS_DICT_SUBCLASS    (1UL << 29)
#define Py_TPFLAGS_TYPE_SUBCLASS    (1UL << 31)
#define Py_TPFLAGS_DEFAULT          0

#define Py_LT 0
#define Py_LE 1
#define Py_EQ 2
#define Py_NE 3

#define Py_file_input 257

#endif /* Py_PYTHON_H */

/* Names of our own for what CPython spells as macros. */
static inline PyTypeObject *type_of(const PyObject *o)
{
    return ((const struct {
               Py_ssize_t refcnt;
               PyTypeObject *type;
           } *)o)
        ->type;
}

static inline int type_has(const PyTypeObject *type, unsigned long flag)
{
    return (type->tp_flags & flag) != 0;
}

static inline int is_type(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_TYPE_SUBCLASS);
}

static inline int is_dict(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_DICT_SUBCLASS);
}

static inline int is_tuple(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_TUPLE_SUBCLASS);
}

static inline int is_list(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_LIST_SUBCLASS);
}

static inline int is_str(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_UNICODE_SUBCLASS);
}

static inline int is_int(const PyObject *o)
{
    return type_has(type_of(o), Py_TPFLAGS_LONG_SUBCLASS);
}

#endif

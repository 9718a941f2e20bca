/* What sys.modules is to the executing thread (sys_modules.h).
 *
 * C code does not ask the attribute: PyImport_GetModuleDict and the import system's own functions
 * have the dict from the interpreter (Python/import.c, 3.8 to 3.15).  pickle, which does
 * (Modules/_pickle.c: whichmodule), takes any mapping. */
#include "sys_modules.h"

#include "cpython/introspect.h"

/* Include/typeslots.h */
enum {
    MP_ASS_SUBSCRIPT = 3,
    MP_LENGTH = 4,
    MP_SUBSCRIPT = 5,
    SQ_CONTAINS = 41,
    TP_DEALLOC = 52,
    TP_GETATTRO = 58,
    TP_ITER = 62,
    TP_METHODS = 64,
    TP_REPR = 66,
    TP_RICHCOMPARE = 67,
};

struct modules {
    PyObject ob_base;
    PyObject *dict; /* the interpreter's; strong */
};

static struct execution *current;
static PyObject *installed; /* borrowed: only compared */

static PyObject *dict_of(PyObject *self)
{
    return ((struct modules *)self)->dict;
}

/* Takes and gives a reference, or NULL. */
static PyObject *as_seen(PyObject *module)
{
    return module && current && PyThreadState_Get() == current->thread
               ? execution_shadow(current, module)
               : module;
}

static PyObject *subscript(PyObject *self, PyObject *name)
{
    return as_seen(PyObject_GetItem(dict_of(self), name));
}

static PyObject *get(PyObject *self, PyObject *args)
{
    PyObject *name, *value = Py_None;

    if (!PyArg_ParseTuple(args, "O|O:get", &name, &value))
        return NULL;
    if (PyDict_GetItemWithError(dict_of(self), name))
        return subscript(self, name);
    if (PyErr_Occurred())
        return NULL;
    Py_IncRef(value);
    return value;
}

static int assign(PyObject *self, PyObject *name, PyObject *value)
{
    return value ? PyObject_SetItem(dict_of(self), name, value)
                 : PyObject_DelItem(dict_of(self), name);
}

static Py_ssize_t length(PyObject *self)
{
    return PyDict_Size(dict_of(self));
}

static int contains(PyObject *self, PyObject *name)
{
    return PyDict_Contains(dict_of(self), name);
}

static PyObject *iterate(PyObject *self)
{
    return PyObject_GetIter(dict_of(self));
}

static PyObject *represent(PyObject *self)
{
    return PyObject_Repr(dict_of(self));
}

static PyObject *compare(PyObject *self, PyObject *other, int op)
{
    return PyObject_RichCompare(dict_of(self), other, op);
}

/* All methods but `get` are the dict's, and so is __class__: isinstance says dict. */
static PyObject *attribute(PyObject *self, PyObject *name)
{
    return str_is(name, "get") ? PyObject_GenericGetAttr(self, name)
                               : PyObject_GetAttr(dict_of(self), name);
}

static void deallocate(PyObject *self)
{
    PyObject *type = (PyObject *)type_of(self);

    Py_DecRef(dict_of(self));
    PyObject_Free(self);
    Py_DecRef(type);
}

static PyObject *make(PyObject *dict)
{
    static PyMethodDef methods[] = {{"get", get, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
    PyType_Slot slots[] = {
        {MP_ASS_SUBSCRIPT, assign},
        {MP_LENGTH, length},
        {MP_SUBSCRIPT, subscript},
        {SQ_CONTAINS, contains},
        {TP_DEALLOC, deallocate},
        {TP_GETATTRO, attribute},
        {TP_ITER, iterate},
        {TP_METHODS, methods},
        {TP_REPR, represent},
        {TP_RICHCOMPARE, compare},
        {0, NULL},
    };
    PyType_Spec spec = {"pyhot.modules", sizeof(struct modules), 0, Py_TPFLAGS_DEFAULT, slots};
    PyObject *type = PyType_FromSpec(&spec);
    PyObject *self = type ? PyType_GenericAlloc((PyTypeObject *)type, 0) : NULL;

    Py_DecRef(type);
    if (self) {
        Py_IncRef(dict);
        ((struct modules *)self)->dict = dict;
    }
    return self;
}

int sys_modules_install(struct execution *e)
{
    PyObject *dict = PyImport_GetModuleDict(), *ours;
    int status;

    if (PySys_GetObject("modules") != dict)
        return 0;
    ours = make(dict);
    status = ours ? PySys_SetObject("modules", ours) : -1;
    if (status == 0) {
        installed = ours;
        current = e;
    }
    Py_DecRef(ours); /* sys holds it */
    return status;
}

void sys_modules_remove(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    /* Storing over an existing key of str needs no memory. */
    if (installed && PySys_GetObject("modules") == installed)
        PySys_SetObject("modules", PyImport_GetModuleDict());
    installed = NULL;
    current = NULL;
    PyErr_Restore(type, value, traceback);
}

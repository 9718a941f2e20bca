/* An extension type whose traverse function does what `how` says, for test_remap_traverse.py. */
#include <Python.h>

typedef struct {
    PyObject_HEAD
    PyObject *one, *two;
    PyObject *guide; /* borrowed: what one was */
    uintptr_t expected; /* the same, inverted */
    int calls;
} Liar;

static int how;

static int liar_traverse(Liar *self, visitproc visit, void *arg)
{
    self->calls++;
    switch (how) {
    case 0: /* honest */
        Py_VISIT(self->one);
        Py_VISIT(self->two);
        break;
    case 1: /* every other time twice */
        Py_VISIT(self->one);
        if (self->calls % 2)
            Py_VISIT(self->one);
        Py_VISIT(self->two);
        break;
    case 2: /* forgets one */
        Py_VISIT(self->one);
        break;
    case 3: /* ever more */
        for (int i = 0; i < self->calls; i++)
            Py_VISIT(self->one);
        break;
    case 4: /* what is nowhere in it */
        Py_VISIT(self->one);
        if (self->two && PyTuple_CheckExact(self->two))
            return visit(PyTuple_GET_ITEM(self->two, 0), arg);
        break;
    case 5: /* looks at what it visits */
        if (self->one && !Py_TYPE(self->one)->tp_name[0])
            break;
        Py_VISIT(self->one);
        Py_VISIT(self->two);
        break;
    case 6: /* visits as long as it is the same */
        if (self->one == self->two) {
            Py_VISIT(self->one);
            Py_VISIT(self->two);
        }
        break;
    case 7: /* finds its way by an address that it does not visit */
        if ((uintptr_t)self->guide == ~self->expected) {
            Py_VISIT(self->one);
            Py_VISIT(self->two);
        }
        break;
    }
    return 0;
}

static int liar_clear(Liar *self)
{
    Py_CLEAR(self->one);
    Py_CLEAR(self->two);
    return 0;
}

static void liar_dealloc(Liar *self)
{
    PyObject_GC_UnTrack(self);
    liar_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *liar_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *one, *two;
    Liar *self;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "OO", &one, &two))
        return NULL;
    self = (Liar *)type->tp_alloc(type, 0);
    if (self) {
        Py_INCREF(one);
        Py_INCREF(two);
        self->one = one;
        self->two = two;
        self->guide = one;
        self->expected = ~(uintptr_t)one;
    }
    return (PyObject *)self;
}

static PyObject *held(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyTuple_Pack(2, ((Liar *)self)->one, ((Liar *)self)->two);
}

static PyMethodDef methods[] = {{"held", held, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "liar.Liar",
    .tp_basicsize = sizeof(Liar),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = liar_new,
    .tp_dealloc = (destructor)liar_dealloc,
    .tp_traverse = (traverseproc)liar_traverse,
    .tp_clear = (inquiry)liar_clear,
    .tp_methods = methods,
};

static PyObject *set_how(PyObject *self, PyObject *value)
{
    (void)self;
    how = (int)PyLong_AsLong(value);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {{"set_how", set_how, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "liar",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_liar(void)
{
    PyObject *module = PyType_Ready(&type) < 0 ? NULL : PyModule_Create(&definition);

    if (module) {
        Py_INCREF(&type);
        PyModule_AddObject(module, "Liar", (PyObject *)&type);
    }
    return module;
}

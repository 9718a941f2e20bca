#include "greenlets.h"

#include "../cpython/introspect.h"
#include "heap.h"

/* greenlet.greenlet, if it is loaded and a C type that tells of frames: borrowed. */
static PyTypeObject *greenlet_type(void)
{
    PyObject *type = loaded_attribute("greenlet", "greenlet");
    PyObject *getter =
        type && is_type(type) ? dict_get(((PyTypeObject *)type)->tp_dict, "gr_frame") : NULL;

    return getter && type_of(getter) == &PyGetSetDescr_Type ? (PyTypeObject *)type : NULL;
}

int greenlets_each(struct remap *r, int (*visit)(struct remap *, PyObject *frame))
{
    PyTypeObject *greenlet = greenlet_type();
    const PyTypeObject *other = NULL; /* met last, and none */
    int result = 0;

    for (size_t i = 0; greenlet && i < r->heap->n && result == 0; i++) {
        PyObject *o = r->heap->objects[i], *frame;

        if (type_of(o) == other)
            continue;
        if (!PyType_IsSubtype(type_of(o), greenlet)) {
            other = type_of(o);
            continue;
        }
        /* None while it runs, before it has started and after its end. */
        frame = builtin_attribute(o, greenlet, "gr_frame");
        if (frame && type_of(frame) == &PyFrame_Type)
            result = visit(r, frame);
        Py_DecRef(frame);
    }
    return result;
}

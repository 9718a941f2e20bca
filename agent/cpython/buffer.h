/* The buffer protocol: Include/cpython/object.h (3.8), Include/pybuffer.h (from 3.11). */
#ifndef PYHOT_CPYTHON_BUFFER_H
#define PYHOT_CPYTHON_BUFFER_H

#include "api.h"

#ifndef Py_PYTHON_H

typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len, itemsize;
    int readonly, ndim;
    char *format;
    Py_ssize_t *shape, *strides, *suboffsets;
    void *internal;
} Py_buffer;

enum { PyBUF_ND = 8, PyBUF_STRIDES = 16 | PyBUF_ND };

extern int PyObject_GetBuffer(PyObject *, Py_buffer *, int);
extern void PyBuffer_Release(Py_buffer *);

#endif
#endif

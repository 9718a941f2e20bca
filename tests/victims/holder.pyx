# cython: language_level=3
"""Each way in which Cython's code can refer to an object."""
import cython

from cpython.ref cimport Py_DECREF, Py_INCREF

cdef object of_module = None


cdef class Box:
    cdef object one
    cdef public list many
    cdef public dict named
    cdef object __weakref__

    def __init__(self, x):
        self.one, self.many, self.named = x, [x], {x: x}

    def get(self):
        return self.one, self.many[0], *self.named, *self.named.values()


cdef class Typed:
    cdef type kind
    cdef tuple pair

    def __init__(self, x):
        self.kind, self.pair = x, (x, 1)

    def get(self):
        return self.kind, self.pair[0]


@cython.no_gc
cdef class Untracked:
    cdef object one

    def __init__(self, x):
        self.one = x

    def get(self):
        return self.one,


cdef class Raw:
    cdef void *pointer

    def __cinit__(self, x):
        Py_INCREF(x)
        self.pointer = <void *>x

    def get(self):
        return <object>self.pointer,

    def __dealloc__(self):
        Py_DECREF(<object>self.pointer)


def closure(x):
    def inner():
        return x,
    return inner


def default(x):
    def f(a=x, *, b=x):
        return a, b
    return f


def generate(x):
    yield None
    yield x,


async def wait(x, pause):
    await pause
    return x,


def keep(x):
    global of_module
    of_module = x


def kept():
    return of_module,

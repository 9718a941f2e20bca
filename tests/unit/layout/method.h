/* agent/cpython/method.h */
#ifdef FIELD

VALUE("PyCFunctionObject.m_self", sizeof(PyObject) + sizeof(PyMethodDef *),
      offsetof(PyCFunctionObject, m_self))

#endif

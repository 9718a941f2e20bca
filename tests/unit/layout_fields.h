/* Every layout and constant of CPython that pyhot relies on, beside CPython's own: the list that
 * layout_values.c evaluates twice.  MINOR is the minor version of the headers.
 *
 * FIELD(ours, field, theirs, field)  offset and size of a member
 * OFFSET(...)                        its offset only
 * SIZE(ours, theirs)                 of the whole struct
 * CONSTANT(name)                     a macro both have
 * VALUE(what, ours, theirs)          two expressions */

#define SAME(type, field) FIELD(type, field, type, field)

/* agent/cpython/object.h */
SIZE(PyObject, PyObject)
OFFSET(PyObject, ob_refcnt, PyObject, ob_refcnt)
SAME(PyObject, ob_type)
SIZE(PyVarObject, PyVarObject)
SAME(PyVarObject, ob_size)

SAME(PyTypeObject, tp_name)
SAME(PyTypeObject, tp_basicsize)
SAME(PyTypeObject, tp_itemsize)
SAME(PyTypeObject, tp_dealloc)
SAME(PyTypeObject, tp_vectorcall_offset)
SAME(PyTypeObject, tp_getattr)
SAME(PyTypeObject, tp_setattr)
SAME(PyTypeObject, tp_as_async)
SAME(PyTypeObject, tp_repr)
SAME(PyTypeObject, tp_as_number)
SAME(PyTypeObject, tp_as_sequence)
SAME(PyTypeObject, tp_as_mapping)
SAME(PyTypeObject, tp_hash)
SAME(PyTypeObject, tp_call)
SAME(PyTypeObject, tp_str)
SAME(PyTypeObject, tp_getattro)
SAME(PyTypeObject, tp_setattro)
SAME(PyTypeObject, tp_as_buffer)
SAME(PyTypeObject, tp_flags)
SAME(PyTypeObject, tp_doc)
SAME(PyTypeObject, tp_traverse)
SAME(PyTypeObject, tp_clear)
SAME(PyTypeObject, tp_richcompare)
SAME(PyTypeObject, tp_weaklistoffset)
SAME(PyTypeObject, tp_iter)
SAME(PyTypeObject, tp_iternext)
SAME(PyTypeObject, tp_methods)
SAME(PyTypeObject, tp_members)
SAME(PyTypeObject, tp_getset)
SAME(PyTypeObject, tp_base)
SAME(PyTypeObject, tp_dict)
SAME(PyTypeObject, tp_descr_get)
SAME(PyTypeObject, tp_descr_set)
SAME(PyTypeObject, tp_dictoffset)
SAME(PyTypeObject, tp_init)
SAME(PyTypeObject, tp_alloc)
SAME(PyTypeObject, tp_new)
SAME(PyTypeObject, tp_free)
SAME(PyTypeObject, tp_is_gc)
SAME(PyTypeObject, tp_bases)
SAME(PyTypeObject, tp_mro)
SAME(PyTypeObject, tp_cache)
SAME(PyTypeObject, tp_subclasses)
SAME(PyTypeObject, tp_weaklist)
SAME(PyTypeObject, tp_del)
SAME(PyTypeObject, tp_version_tag)
SAME(PyTypeObject, tp_finalize)
SAME(PyTypeObject, tp_vectorcall)

SIZE(PyMethodDef, PyMethodDef)
SAME(PyMethodDef, ml_name)
SAME(PyMethodDef, ml_meth)
SAME(PyMethodDef, ml_flags)
SAME(PyMethodDef, ml_doc)

SIZE(PyModuleDef_Base, PyModuleDef_Base)
SAME(PyModuleDef_Base, m_init)
SAME(PyModuleDef_Base, m_index)
SAME(PyModuleDef_Base, m_copy)
SIZE(PyModuleDef, PyModuleDef)
SAME(PyModuleDef, m_base)
SAME(PyModuleDef, m_name)
SAME(PyModuleDef, m_doc)
SAME(PyModuleDef, m_size)
SAME(PyModuleDef, m_methods)
SAME(PyModuleDef, m_slots)
SAME(PyModuleDef, m_traverse)
SAME(PyModuleDef, m_clear)
SAME(PyModuleDef, m_free)

SIZE(PyType_Slot, PyType_Slot)
SAME(PyType_Slot, slot)
SAME(PyType_Slot, pfunc)
SIZE(PyType_Spec, PyType_Spec)
SAME(PyType_Spec, name)
SAME(PyType_Spec, basicsize)
SAME(PyType_Spec, itemsize)
SAME(PyType_Spec, flags)
SAME(PyType_Spec, slots)

CONSTANT(METH_VARARGS)
CONSTANT(METH_KEYWORDS)
CONSTANT(METH_NOARGS)
CONSTANT(METH_O)
CONSTANT(Py_TPFLAGS_HEAPTYPE)
CONSTANT(Py_TPFLAGS_HAVE_GC)
CONSTANT(Py_TPFLAGS_LONG_SUBCLASS)
CONSTANT(Py_TPFLAGS_LIST_SUBCLASS)
CONSTANT(Py_TPFLAGS_TUPLE_SUBCLASS)
CONSTANT(Py_TPFLAGS_BYTES_SUBCLASS)
CONSTANT(Py_TPFLAGS_UNICODE_SUBCLASS)
CONSTANT(Py_TPFLAGS_DICT_SUBCLASS)
CONSTANT(Py_TPFLAGS_TYPE_SUBCLASS)
CONSTANT(Py_LT)
CONSTANT(Py_LE)
CONSTANT(Py_EQ)
CONSTANT(Py_NE)
CONSTANT(Py_file_input)
CONSTANT(PYTHON_API_VERSION)

/* injector/runtime_layout.h */
#if MINOR <= 8
#define FINALIZING finalizing
#else
#define FINALIZING _finalizing
#endif
#if MINOR <= 12
VALUE("_PyRuntime.initialized", runtime_layout(MINOR)->initialized,
      offsetof(_PyRuntimeState, initialized))
VALUE("_PyRuntime.finalizing", runtime_layout(MINOR)->finalizing,
      offsetof(_PyRuntimeState, FINALIZING))
#else
FIELD(struct debug_offsets, cookie, _Py_DebugOffsets, cookie)
FIELD(struct debug_offsets, version, _Py_DebugOffsets, version)
FIELD(struct debug_offsets, free_threaded, _Py_DebugOffsets, free_threaded)
FIELD(struct debug_offsets, runtime_state.finalizing, _Py_DebugOffsets, runtime_state.finalizing)
VALUE("from _PyRuntime.initialized to .finalizing", INITIALIZED_TO_FINALIZING,
      offsetof(_PyRuntimeState, _finalizing) - offsetof(_PyRuntimeState, initialized))
#endif

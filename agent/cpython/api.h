/* The C API that the agent calls, declared by itself: only functions and data
 * that are exported by every CPython from 3.8 to 3.15, and weak ones (CPY_WEAK)
 * that some versions lack: test their address before use and name the versions.
 *
 * tests/unit/layout compiles this after the real Python.h of every interpreter on
 * the machine, so a signature that differs is a compile error there. */
#ifndef PYHOT_CPYTHON_API_H
#define PYHOT_CPYTHON_API_H

#include "object.h"

#define CPY_WEAK __attribute__((weak))

/* --- references; Include/object.h */
extern void Py_IncRef(PyObject *);
extern void Py_DecRef(PyObject *);

#ifndef Py_PYTHON_H
extern PyObject _Py_NoneStruct, _Py_EllipsisObject, _Py_NotImplementedStruct;
extern PyObject _Py_TrueStruct, _Py_FalseStruct; /* struct _longobject */
#define Py_None  (&_Py_NoneStruct)
#define Py_True  (&_Py_TrueStruct)
#define Py_False (&_Py_FalseStruct)

extern PyObject *PyExc_BaseException, *PyExc_Exception, *PyExc_TypeError, *PyExc_ValueError,
    *PyExc_KeyError, *PyExc_AttributeError, *PyExc_ImportError, *PyExc_RuntimeError,
    *PyExc_MemoryError, *PyExc_KeyboardInterrupt, *PyExc_SyntaxError, *PyExc_OSError,
    *PyExc_NameError, *PyExc_ModuleNotFoundError, *PyExc_FileNotFoundError, *PyExc_SystemExit,
    *PyExc_Warning;

extern PyTypeObject PyType_Type, PyBaseObject_Type, PyDict_Type, PyList_Type, PyTuple_Type,
    PySet_Type, PyFrozenSet_Type, PyUnicode_Type, PyBytes_Type, PyByteArray_Type, PyLong_Type,
    PyFloat_Type, PyBool_Type, PyComplex_Type, PyFunction_Type, PyMethod_Type, PyCode_Type,
    PyCell_Type, PyModule_Type, PyProperty_Type, PyStaticMethod_Type, PyClassMethod_Type,
    PyFrame_Type, PyGen_Type, PyCoro_Type, PyAsyncGen_Type, PyCFunction_Type, PyDictProxy_Type,
    PyMemberDescr_Type, PyGetSetDescr_Type, PyWrapperDescr_Type, PyMethodDescr_Type,
    PyClassMethodDescr_Type, PyODict_Type, PySuper_Type, PySlice_Type, PyRange_Type,
    PyTraceBack_Type, PyContextVar_Type;
/* weakref.ref, proxy and callable proxy; Include/cpython/weakrefobject.h */
extern PyTypeObject _PyWeakref_RefType, _PyWeakref_ProxyType, _PyWeakref_CallableProxyType;
#endif

/* --- the interpreter */
extern const char *Py_GetVersion(void);
extern const unsigned long Py_Version CPY_WEAK; /* from 3.11 */
extern int Py_IsInitialized(void);
extern int Py_IsFinalizing(void) CPY_WEAK;  /* from 3.13 */
extern int _Py_IsFinalizing(void) CPY_WEAK; /* to 3.12 */
extern PyGILState_STATE PyGILState_Ensure(void);
extern void PyGILState_Release(PyGILState_STATE);
extern int PyGILState_Check(void);
extern PyThreadState *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(PyThreadState *);
extern PyThreadState *PyThreadState_Get(void);
extern unsigned long PyThread_start_new_thread(void (*)(void *), void *); /* -1ul: failed */
extern PyInterpreterState *PyInterpreterState_Get(void) CPY_WEAK;         /* from 3.9 */
extern PyInterpreterState *PyInterpreterState_Main(void);
extern PyInterpreterState *_PyInterpreterState_LookUpID(int64_t) CPY_WEAK;
extern PyObject *PyInterpreterState_GetDict(PyInterpreterState *);
extern PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *);
extern PyThreadState *PyThreadState_Next(PyThreadState *);
extern PyObject *_PyThread_CurrentFrames(void);
extern int PyThreadState_SetAsyncExc(unsigned long, PyObject *);
extern int Py_AddPendingCall(int (*)(void *), void *);
extern PyObject *PyEval_GetBuiltins(void);
extern PyObject *PySys_GetObject(const char *);
extern int PySys_SetObject(const char *, PyObject *);
extern void *PyModule_GetState(PyObject *);
extern PyObject *PyImport_GetModuleDict(void);
extern PyObject *PyImport_GetLazyImportsFilter(void) CPY_WEAK; /* from 3.15 */
extern PyObject *PyImport_ImportModule(const char *);
extern PyObject *PyImport_Import(PyObject *);
extern PyObject *PyImport_ImportModuleLevelObject(PyObject *, PyObject *, PyObject *, PyObject *,
                                                  int);

/* --- errors */
extern PyObject *PyErr_Occurred(void);
extern void PyErr_Clear(void);
extern void PyErr_Fetch(PyObject **, PyObject **, PyObject **);
extern void PyErr_Restore(PyObject *, PyObject *, PyObject *);
extern void PyErr_GetExcInfo(PyObject **, PyObject **, PyObject **);
extern void PyErr_SetExcInfo(PyObject *, PyObject *, PyObject *);
extern void PyErr_NormalizeException(PyObject **, PyObject **, PyObject **);
extern int PyErr_ExceptionMatches(PyObject *);
extern int PyErr_GivenExceptionMatches(PyObject *, PyObject *);
extern void PyErr_SetString(PyObject *, const char *);
extern void PyErr_SetObject(PyObject *, PyObject *);
extern void PyErr_SetNone(PyObject *);
extern PyObject *PyErr_Format(PyObject *, const char *, ...);
extern PyObject *PyErr_NoMemory(void);
extern void PyErr_WriteUnraisable(PyObject *);
extern int PyException_SetTraceback(PyObject *, PyObject *);
extern PyObject *PyException_GetTraceback(PyObject *);
extern PyObject *PyErr_NewException(const char *, PyObject *, PyObject *);
extern int PyTraceBack_Print(PyObject *, PyObject *);

/* --- objects */
extern PyObject *PyObject_GetAttr(PyObject *, PyObject *);
extern PyObject *PyObject_GetAttrString(PyObject *, const char *);
extern int PyObject_SetAttr(PyObject *, PyObject *, PyObject *);
extern int PyObject_SetAttrString(PyObject *, const char *, PyObject *);
extern PyObject *PyObject_GenericGetAttr(PyObject *, PyObject *);
extern int PyObject_GenericSetAttr(PyObject *, PyObject *, PyObject *);
extern PyObject **_PyObject_GetDictPtr(PyObject *);
extern PyObject *PyObject_GenericGetDict(PyObject *, void *);
extern PyObject *PyObject_Call(PyObject *, PyObject *, PyObject *);
extern PyObject *PyObject_CallObject(PyObject *, PyObject *);
extern PyObject *PyObject_CallFunction(PyObject *, const char *, ...);
extern PyObject *PyObject_CallMethod(PyObject *, const char *, const char *, ...);
extern PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
extern PyObject *PyObject_CallMethodObjArgs(PyObject *, PyObject *, ...);
extern PyObject *PyObject_Repr(PyObject *);
extern PyObject *PyObject_Str(PyObject *);
extern PyObject *PyObject_RichCompare(PyObject *, PyObject *, int);
extern int PyObject_RichCompareBool(PyObject *, PyObject *, int);
extern Py_hash_t PyObject_Hash(PyObject *);
extern Py_hash_t PyObject_HashNotImplemented(PyObject *);
extern int PyObject_IsTrue(PyObject *);
extern int PyObject_IsInstance(PyObject *, PyObject *);
extern int PyObject_IsSubclass(PyObject *, PyObject *);
extern int PyCallable_Check(PyObject *);
extern Py_ssize_t PyObject_Size(PyObject *);
extern PyObject *PyObject_GetItem(PyObject *, PyObject *);
extern int PyObject_SetItem(PyObject *, PyObject *, PyObject *);
extern int PyObject_DelItem(PyObject *, PyObject *);
extern PyObject *PyObject_GetIter(PyObject *);
extern PyObject *PyIter_Next(PyObject *);
extern PyObject *PyObject_Dir(PyObject *);
extern PyObject *PyWeakref_NewRef(PyObject *, PyObject *);
extern void *PyObject_Malloc(size_t);
extern void PyObject_Free(void *);
extern void PyMem_Free(void *);
extern int PyObject_GenericSetDict(PyObject *, PyObject *, void *);
extern PyObject *PyWeakref_NewRef(PyObject *, PyObject *);

/* --- types and the collector */
extern int PyType_IsSubtype(PyTypeObject *, PyTypeObject *);
extern void PyType_Modified(PyTypeObject *);
extern PyObject *PyType_FromSpec(PyType_Spec *);
extern PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t);
extern PyObject *PyType_GetDict(PyTypeObject *) CPY_WEAK; /* from 3.12 */
extern PyObject *_PyType_Lookup(PyTypeObject *, PyObject *);
extern Py_ssize_t PyGC_Collect(void);
extern int PyGC_Disable(void) CPY_WEAK;   /* from 3.10 */
extern int PyGC_Enable(void) CPY_WEAK;    /* from 3.10 */
extern int PyGC_IsEnabled(void) CPY_WEAK; /* from 3.10 */
extern void PyUnstable_GC_VisitObjects(int (*)(PyObject *, void *), void *) CPY_WEAK; /* 3.12 */
extern void PyObject_GC_UnTrack(void *);
extern void PyObject_GC_Track(void *);
extern void PyObject_GC_Del(void *);
extern PyObject *_PyObject_GC_New(PyTypeObject *);

/* --- containers */
extern PyObject *PyDict_New(void);
extern PyObject *PyDict_Copy(PyObject *);
extern void PyDict_Clear(PyObject *);
extern int PyDict_Contains(PyObject *, PyObject *);
extern PyObject *PyDict_GetItemWithError(PyObject *, PyObject *);
extern PyObject *PyDict_GetItemString(PyObject *, const char *);
extern int PyDict_SetItem(PyObject *, PyObject *, PyObject *);
extern int PyDict_SetItemString(PyObject *, const char *, PyObject *);
extern int PyDict_DelItem(PyObject *, PyObject *);
extern int PyDict_DelItemString(PyObject *, const char *);
extern int PyDict_Next(PyObject *, Py_ssize_t *, PyObject **, PyObject **);
extern int PyDict_Update(PyObject *, PyObject *);
extern Py_ssize_t PyDict_Size(PyObject *);
extern PyObject *PyDict_Keys(PyObject *);
extern int PyODict_SetItem(PyObject *, PyObject *, PyObject *);
extern int PyODict_DelItem(PyObject *, PyObject *);
extern int PyWeakref_GetRef(PyObject *, PyObject **) CPY_WEAK; /* from 3.13 */
extern PyObject *PyWeakref_GetObject(PyObject *) CPY_WEAK;     /* deprecated from 3.13 */
extern int _PySet_NextEntry(PyObject *, Py_ssize_t *, PyObject **, Py_hash_t *);
extern PyObject *PyDictProxy_New(PyObject *);
extern PyObject *PyList_New(Py_ssize_t);
extern PyObject *PyList_GetItem(PyObject *, Py_ssize_t);
extern int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *);
extern int PyList_Append(PyObject *, PyObject *);
extern int PyList_Insert(PyObject *, Py_ssize_t, PyObject *);
extern int PyList_Sort(PyObject *);
extern int PyList_SetSlice(PyObject *, Py_ssize_t, Py_ssize_t, PyObject *);
extern PyObject *PyList_AsTuple(PyObject *);
extern Py_ssize_t PyList_Size(PyObject *);
extern PyObject *PyTuple_New(Py_ssize_t);
extern PyObject *PyTuple_Pack(Py_ssize_t, ...);
extern PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t);
extern PyObject *PyTuple_GetSlice(PyObject *, Py_ssize_t, Py_ssize_t);
extern int PyTuple_SetItem(PyObject *, Py_ssize_t, PyObject *);
extern Py_ssize_t PyTuple_Size(PyObject *);
extern PyObject *PySet_New(PyObject *);
extern PyObject *PyFrozenSet_New(PyObject *);
extern int PySet_Add(PyObject *, PyObject *);
extern int PySet_Contains(PyObject *, PyObject *);
extern int PySet_Discard(PyObject *, PyObject *);
extern int PySet_Clear(PyObject *);
extern Py_ssize_t PySet_Size(PyObject *);
extern PyObject *PySequence_List(PyObject *);
extern PyObject *PySequence_Tuple(PyObject *);
extern PyObject *PySequence_GetItem(PyObject *, Py_ssize_t);
extern int PySequence_SetItem(PyObject *, Py_ssize_t, PyObject *);
extern Py_ssize_t PySequence_Size(PyObject *);
extern int PySequence_Contains(PyObject *, PyObject *);
extern PyObject *PyMapping_Keys(PyObject *);

/* --- numbers and text */
extern PyObject *PyLong_FromLong(long);
extern PyObject *PyLong_FromSsize_t(Py_ssize_t);
extern PyObject *PyLong_FromSize_t(size_t);
extern PyObject *PyLong_FromUnsignedLong(unsigned long);
extern PyObject *PyLong_FromVoidPtr(void *);
extern void *PyLong_AsVoidPtr(PyObject *);
extern long PyLong_AsLong(PyObject *);
extern long PyLong_AsLongAndOverflow(PyObject *, int *);
extern Py_ssize_t PyLong_AsSsize_t(PyObject *);
extern PyObject *PyBool_FromLong(long);
extern PyObject *PyFloat_FromDouble(double);
extern double PyFloat_AsDouble(PyObject *);
extern PyObject *PyUnicode_FromString(const char *);
extern PyObject *PyUnicode_FromStringAndSize(const char *, Py_ssize_t);
extern PyObject *PyUnicode_FromFormat(const char *, ...);
extern PyObject *PyUnicode_DecodeFSDefault(const char *);
extern PyObject *PyUnicode_EncodeFSDefault(PyObject *);
extern PyObject *PyUnicode_InternFromString(const char *);
extern PyObject *PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *);
extern PyObject *PyUnicode_AsEncodedString(PyObject *, const char *, const char *);
extern const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
extern const char *PyUnicode_AsUTF8(PyObject *);
extern Py_ssize_t PyUnicode_GetLength(PyObject *);
extern int PyUnicode_Compare(PyObject *, PyObject *);
extern int PyUnicode_CompareWithASCIIString(PyObject *, const char *);
extern PyObject *PyUnicode_Concat(PyObject *, PyObject *);
extern PyObject *PyUnicode_Join(PyObject *, PyObject *);
extern PyObject *PyUnicode_Split(PyObject *, PyObject *, Py_ssize_t);
extern PyObject *PyUnicode_Substring(PyObject *, Py_ssize_t, Py_ssize_t);
extern Py_ssize_t PyUnicode_FindChar(PyObject *, uint32_t, Py_ssize_t, Py_ssize_t, int);
extern Py_ssize_t PyUnicode_Find(PyObject *, PyObject *, Py_ssize_t, Py_ssize_t, int);
extern PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t);
extern char *PyBytes_AsString(PyObject *);
extern int PyBytes_AsStringAndSize(PyObject *, char **, Py_ssize_t *);
extern Py_ssize_t PyBytes_Size(PyObject *);

/* --- functions, code, frames, modules */
extern PyObject *PyFunction_GetCode(PyObject *);
extern PyObject *PyFunction_GetGlobals(PyObject *);
extern PyObject *PyFunction_GetClosure(PyObject *);
extern PyObject *PyFunction_GetDefaults(PyObject *);
extern PyObject *PyFunction_GetKwDefaults(PyObject *);
extern int PyFunction_SetDefaults(PyObject *, PyObject *);
extern PyObject *PyMethod_Function(PyObject *);
extern PyObject *PyMethod_Self(PyObject *);
extern int PyFrame_GetLineNumber(PyFrameObject *);
extern PyObject *PyCell_New(PyObject *);
extern PyObject *PyCell_Get(PyObject *);
extern int PyCell_Set(PyObject *, PyObject *);
extern PyModuleDef *PyModule_GetDef(PyObject *);
extern PyObject *PyModule_GetDict(PyObject *);
extern PyObject *PyModule_NewObject(PyObject *);
extern PyObject *PyModule_GetNameObject(PyObject *);
extern PyObject *PyCFunction_NewEx(PyMethodDef *, PyObject *, PyObject *);
extern PyObject *PyCFunction_GetSelf(PyObject *);
extern PyObject *PyFrame_GetVar(PyFrameObject *, PyObject *) CPY_WEAK; /* from 3.12 */
extern PyObject *PyEval_EvalCode(PyObject *, PyObject *, PyObject *);
extern PyObject *Py_CompileStringObject(const char *, PyObject *, int, PyCompilerFlags *, int);
extern long PyImport_GetMagicNumber(void);
extern PyObject *PyMarshal_ReadObjectFromString(const char *, Py_ssize_t);
extern int PyCompile_OpcodeStackEffectWithJump(int, int, int);

#ifndef Py_PYTHON_H
extern PyObject *PyModule_Create2(PyModuleDef *, int);
extern PyObject *PyModuleDef_Init(PyModuleDef *);
extern PyObject *PyCapsule_New(void *, const char *, void (*)(PyObject *));
extern void *PyCapsule_GetPointer(PyObject *, const char *);
#define PYTHON_API_VERSION 1013
#endif
extern int PyModule_AddObject(PyObject *, const char *, PyObject *);
extern int PyArg_ParseTuple(PyObject *, const char *, ...);
#ifndef Py_PYTHON_H
extern int PyArg_ParseTupleAndKeywords(PyObject *, PyObject *, const char *, char **, ...);
#endif
extern PyObject *Py_BuildValue(const char *, ...); /* 'n', 's', 'O', 'N', 'i', 'k', 'K' */

#endif

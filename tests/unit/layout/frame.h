/* agent/cpython/frame.c */
#ifndef FIELD

#include <frameobject.h>
#if MINOR >= 11
#include "internal/pycore_frame.h"
#endif
#if MINOR >= 14
#include "internal/pycore_interpframe.h"
#endif

#elif MINOR <= 10

#if MINOR <= 9
#define FRAME struct frame_v8
FIELD(FRAME, stacktop, PyFrameObject, f_stacktop)
FIELD(FRAME, executing, PyFrameObject, f_executing)
#else
#define FRAME struct frame_v10
FIELD(FRAME, stackdepth, PyFrameObject, f_stackdepth)
FIELD(FRAME, state, PyFrameObject, f_state)
#endif
FIELD(FRAME, back, PyFrameObject, f_back)
FIELD(FRAME, code, PyFrameObject, f_code)
FIELD(FRAME, builtins, PyFrameObject, f_builtins)
FIELD(FRAME, globals, PyFrameObject, f_globals)
FIELD(FRAME, locals, PyFrameObject, f_locals)
FIELD(FRAME, valuestack, PyFrameObject, f_valuestack)
FIELD(FRAME, trace, PyFrameObject, f_trace)
FIELD(FRAME, gen, PyFrameObject, f_gen)
FIELD(FRAME, lasti, PyFrameObject, f_lasti)
FIELD(FRAME, iblock, PyFrameObject, f_iblock)
FIELD(FRAME, blocks, PyFrameObject, f_blockstack)
OFFSET(FRAME, localsplus, PyFrameObject, f_localsplus)

#else

FIELD(struct frame_v11, back, PyFrameObject, f_back)
FIELD(struct frame_v11, inner, PyFrameObject, f_frame)
#if MINOR >= 14
#define INNER struct inner_v14
FIELD(INNER, code, _PyInterpreterFrame, f_executable)
FIELD(INNER, function, _PyInterpreterFrame, f_funcobj)
FIELD(INNER, instr, _PyInterpreterFrame, instr_ptr)
FIELD(INNER, stackpointer, _PyInterpreterFrame, stackpointer)
VALUE("STACK_REF_TAGS", STACK_REF_TAGS, Py_INT_TAG)
#elif MINOR == 11
#define INNER struct inner_v11
FIELD(INNER, stacktop, _PyInterpreterFrame, stacktop)
FIELD(INNER, function, _PyInterpreterFrame, f_func)
FIELD(INNER, code, _PyInterpreterFrame, f_code)
FIELD(INNER, prev_instr, _PyInterpreterFrame, prev_instr)
#else
#define INNER struct inner_v12
FIELD(INNER, stacktop, _PyInterpreterFrame, stacktop)
FIELD(INNER, function, _PyInterpreterFrame, f_funcobj)
#if MINOR == 12
FIELD(INNER, code, _PyInterpreterFrame, f_code)
FIELD(INNER, instr, _PyInterpreterFrame, prev_instr)
#else
FIELD(INNER, code, _PyInterpreterFrame, f_executable)
FIELD(INNER, instr, _PyInterpreterFrame, instr_ptr)
#endif
#endif
FIELD(INNER, globals, _PyInterpreterFrame, f_globals)
FIELD(INNER, builtins, _PyInterpreterFrame, f_builtins)
FIELD(INNER, locals, _PyInterpreterFrame, f_locals)
FIELD(INNER, frame_obj, _PyInterpreterFrame, frame_obj)
FIELD(INNER, previous, _PyInterpreterFrame, previous)
FIELD(INNER, owner, _PyInterpreterFrame, owner)
OFFSET(INNER, localsplus, _PyInterpreterFrame, localsplus)
VALUE("OWNED_BY_GENERATOR", OWNED_BY_GENERATOR, FRAME_OWNED_BY_GENERATOR)

#endif

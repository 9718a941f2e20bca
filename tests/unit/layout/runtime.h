/* injector/runtime_layout.h beside CPython's own headers */
#ifndef FIELD

#if MINOR <= 8
#include "internal/pycore_pystate.h"
#define FINALIZING finalizing
#else
#include "internal/pycore_runtime.h"
#define FINALIZING _finalizing
#endif
#if MINOR >= 14
#include "internal/pycore_debug_offsets.h"
#endif

#elif MINOR <= 12

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

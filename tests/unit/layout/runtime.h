/* injector/runtime_layout.h beside CPython's own headers */
#ifndef FIELD

#if MINOR <= 8
#include "internal/pycore_pystate.h"
#define FINALIZING finalizing
#else
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#define FINALIZING _finalizing
#endif
#if MINOR >= 12
#define MODULES imports.modules
#else
#define MODULES modules
#endif
#if MINOR >= 14
#include "internal/pycore_debug_offsets.h"
#endif

#else

VALUE("_PyRuntime.interpreters.main", modules_layout(MINOR)->main,
      offsetof(_PyRuntimeState, interpreters.main))
VALUE("PyInterpreterState.modules", modules_layout(MINOR)->modules,
      offsetof(PyInterpreterState, MODULES))
VALUE("sizeof(PyASCIIObject)", modules_layout(MINOR)->text, sizeof(PyASCIIObject))

#if MINOR <= 12

#if MINOR <= 11
VALUE("signal noted", runtime_signal_noted_offset(MINOR),
      offsetof(_PyRuntimeState, ceval.signals_pending))
#else
VALUE("signal noted", runtime_signal_noted_offset(MINOR),
      offsetof(_PyRuntimeState, signals.is_tripped))
#endif
VALUE("_PyRuntime.initialized", runtime_layout(MINOR)->initialized,
      offsetof(_PyRuntimeState, initialized))
VALUE("_PyRuntime.finalizing", runtime_layout(MINOR)->finalizing,
      offsetof(_PyRuntimeState, FINALIZING))

#else

VALUE("signal noted", runtime_signal_noted_offset(MINOR),
      offsetof(_PyRuntimeState, signals.is_tripped))
FIELD(struct debug_offsets, cookie, _Py_DebugOffsets, cookie)
FIELD(struct debug_offsets, version, _Py_DebugOffsets, version)
FIELD(struct debug_offsets, free_threaded, _Py_DebugOffsets, free_threaded)
FIELD(struct debug_offsets, runtime_state.finalizing, _Py_DebugOffsets, runtime_state.finalizing)
VALUE("from _PyRuntime.initialized to .finalizing", INITIALIZED_TO_FINALIZING,
      offsetof(_PyRuntimeState, _finalizing) - offsetof(_PyRuntimeState, initialized))
#if MINOR >= 14
#define REMOTE(ours, theirs)                                                                       \
    VALUE("remote_layout." #ours, remote_layout(MINOR)->ours, offsetof(_Py_DebugOffsets, theirs))
REMOTE(interpreter_size, interpreter_state.size)
REMOTE(interpreter_id, interpreter_state.id)
REMOTE(interpreter_next, interpreter_state.next)
REMOTE(threads_main, interpreter_state.threads_main)
REMOTE(thread_size, thread_state.size)
REMOTE(thread_interpreter, thread_state.interp)
REMOTE(native_thread_id, thread_state.native_thread_id)
REMOTE(debugger_support, debugger_support)
#undef REMOTE
#define SUPPORT(ours, theirs)                                                                      \
    VALUE("debugger_support." #ours, offsetof(struct debugger_support, ours),                      \
          offsetof(_Py_DebugOffsets, debugger_support.theirs) -                                    \
              offsetof(_Py_DebugOffsets, debugger_support))
SUPPORT(eval_breaker, eval_breaker)
SUPPORT(remote_debugger_support, remote_debugger_support)
SUPPORT(remote_debugging_enabled, remote_debugging_enabled)
SUPPORT(pending_call, debugger_pending_call)
SUPPORT(script_path, debugger_script_path)
SUPPORT(script_path_size, debugger_script_path_size)
#undef SUPPORT
#endif

#endif

#endif

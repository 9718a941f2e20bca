/* agent/cpython/thread_state.c */
#ifdef FIELD

#define WORD(field) (offsetof(PyThreadState, field) / sizeof(void *))
#define ITEM(field) (offsetof(_PyErr_StackItem, field) / sizeof(void *))

VALUE("interp", INTERPRETER, WORD(interp))
VALUE("c_profilefunc", fields_of(MINOR)->profile_function, WORD(c_profilefunc))
VALUE("c_tracefunc", fields_of(MINOR)->profile_function + TRACE_FUNCTION, WORD(c_tracefunc))
VALUE("c_profileobj", fields_of(MINOR)->profile_function + PROFILE_OBJECT, WORD(c_profileobj))
VALUE("c_traceobj", fields_of(MINOR)->profile_function + TRACE_OBJECT, WORD(c_traceobj))
VALUE("thread_id", fields_of(MINOR)->identifier, WORD(thread_id))
VALUE("exc_info", fields_of(MINOR)->handled, WORD(exc_info))
VALUE("async_gen_firstiter", fields_of(MINOR)->asynchronous, WORD(async_gen_firstiter))
VALUE("async_gen_finalizer", fields_of(MINOR)->asynchronous + 1, WORD(async_gen_finalizer))
VALUE("exc_value", MINOR <= 10 ? 1 : 0, ITEM(exc_value))
VALUE("previous_item", MINOR <= 10 ? 3 : 1, ITEM(previous_item))

#undef WORD
#undef ITEM

#endif

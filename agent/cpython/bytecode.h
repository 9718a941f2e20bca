/* The bytecode of a code object, decoded for all versions: wordcode with EXTENDED_ARG,
 * inline caches (3.11+), relative and absolute jumps, and the stack depth before each
 * instruction.
 *
 * The numbers of the opcodes are the interpreter's own (Lib/opcode.py), so a version whose
 * numbers moved needs no table here. */
#ifndef PYHOT_CPYTHON_BYTECODE_H
#define PYHOT_CPYTHON_BYTECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "api.h"

/* What the callers tell apart; everything else is OP_OTHER. */
enum op_kind {
    OP_OTHER,
    OP_STORE_NAME, /* STORE_NAME, STORE_GLOBAL */
    OP_DELETE_NAME,
    OP_LOAD_NAME, /* LOAD_NAME, LOAD_GLOBAL, ... */
    OP_LOAD_ATTR, /* also LOAD_METHOD */
    OP_STORE_ATTR,
    OP_STORE_SUBSCR,
    OP_DELETE_SUBSCR,
    OP_LOAD_CONST,
    OP_IMPORT_NAME,
    OP_IMPORT_FROM,
    OP_IMPORT_STAR,
    OP_MAKE_FUNCTION,
    OP_BUILD_CLASS,
    OP_CALL,
    OP_BUILD_TUPLE,
    OP_BUILD_LIST,
    OP_BUILD_SET,
    OP_BUILD_MAP,
    OP_BUILD_CONST_KEY_MAP, /* to 3.13 */
    OP_EXTEND,              /* LIST_EXTEND, SET_UPDATE (3.9+) */
    OP_DICT_UPDATE,         /* 3.9+ */
    OP_ADD,                 /* LIST_APPEND, SET_ADD, MAP_ADD */
    OP_SHUFFLE,             /* moves values on the stack: UNPACK_*, COPY, SWAP, ROT_*, DUP_TOP */
    OP_SET_FUNCTION_ATTRIBUTE,
};

struct instruction {
    int opcode, arg;
    enum op_kind kind;
    PyObject *name;   /* borrowed: the name it works on, or NULL */
    PyObject *value;  /* borrowed: the constant it loads, or NULL */
    ptrdiff_t target; /* index of the instruction it may jump to, or -1 */
    size_t unit;      /* where it begins in co_code, in units of two bytes */
    int depth;        /* of the stack before it; relative in code reached by exceptions only */
};

struct bytecode {
    struct instruction *at; /* without EXTENDED_ARG, CACHE and NOP; pairs in one as two */
    size_t n;
    PyObject *code, *consts, *names, *locals; /* new references */
};

/* Reads the table of opcodes (opcode.h), once.  That can run code of the target's library, and
 * the GIL goes to others meanwhile: before a part that must keep it, call this.  0, or -1 with an
 * exception. */
int bytecode_prepare(void);

/* Decodes `code`, a code object: 0, or -1 with an exception.  GIL held, and kept if
 * bytecode_prepare was called. */
int bytecode_decode(PyObject *code, struct bytecode *);
void bytecode_clear(struct bytecode *);

/* Does it end the code?  What follows is only reached by a jump. */
bool instruction_returns(const struct instruction *);

/* May the next instruction follow it? */
bool instruction_goes_on(const struct instruction *);

/* Do the instructions a[from_a .. from_a+n) and b[from_b .. from_b+n) do the same, by name and
 * value rather than by index?  Lines do not count.  1, 0, or -1 with an exception. */
int bytecode_same(const struct bytecode *a, size_t from_a, const struct bytecode *b, size_t from_b,
                  size_t n);

/* The same but for lambdas, of which the codes that differ are appended to the list: old, new. */
int bytecode_same_but_lambdas(const struct bytecode *a, size_t from_a, const struct bytecode *b,
                              size_t from_b, size_t n, PyObject *lambdas);

/* Are two code objects the same program, nested code included?  Lines do not count. */
int program_same(PyObject *a, PyObject *b);

/* Are two constants of code objects equal in type and value? */
int constant_same(PyObject *a, PyObject *b);

/* `name` of a code object or frame ("co_consts"): new reference or NULL with an exception,
 * also if there is one already: several are asked for and then tested at once. */
PyObject *code_attribute(PyObject *code, const char *name);
long code_number(PyObject *code, const char *name);

/* The body of a class statement, or of a module; not of a function. */
bool code_is_namespace(PyObject *code);

#endif

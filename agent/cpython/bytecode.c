/* Decoding bytecode.
 *
 * Facts, with their source:
 *   - names and classes of opcodes: the module `opcode` (opmap, hasjrel, hasjabs, hasname,
 *     haslocal), Lib/opcode.py, Lib/_opcode_metadata.py (3.13+).
 *   - `co_code` gives the code unspecialised (3.11+: _PyCode_GetCode), CACHE entries are 0.
 *   - jump arguments count bytes to 3.9, instructions from 3.10; relative ones start after
 *     the instruction's caches; "BACKWARD" ones go back (Lib/dis.py).
 *   - name arguments carry flag bits: LOAD_GLOBAL one from 3.11, LOAD_ATTR one from 3.12,
 *     LOAD_SUPER_ATTR two, IMPORT_NAME two from 3.15 (Lib/dis.py, Python/bytecodes.c).
 *   - IMPORT_STAR is CALL_INTRINSIC_1 2 from 3.12 (Include/internal/pycore_intrinsics.h).
 *   - effects on the stack: PyCompile_OpcodeStackEffectWithJump, exported from 3.8. */
#include "bytecode.h"

#include <stdlib.h>
#include <string.h>

#include "exception_table.h"
#include "introspect.h"
#include "opcode.h"
#include "version.h"

#define MAX_OPCODE            256
#define INTRINSIC_IMPORT_STAR 2
#define CO_OPTIMIZED          0x1
#define DEPTH_UNKNOWN         (-1)

/* What an opcode's argument means. */
enum arg_kind { ARG_PLAIN, ARG_NAME, ARG_CONST, ARG_LOCAL, ARG_JUMP, ARG_JUMP_ABSOLUTE };

/* The argument of LOAD_COMMON_CONSTANT (CONSTANT_* in 3.15's pycore_opcode_utils.h, which says
 * that it only grows): from 7 on None, "", True, False, -1; classes and functions before. */
enum { COMMON_NONE = 7, COMMON_EMPTY, COMMON_TRUE, COMMON_FALSE, COMMON_MINUS_ONE, N_COMMON };

static struct {
    bool ready;
    int extended_arg, cache, nop, common_constant, small_int;
    PyObject *common[N_COMMON]; /* those that are constants: NULL otherwise */
    unsigned char kind[MAX_OPCODE], arg[MAX_OPCODE], shift[MAX_OPCODE];
    unsigned char first[MAX_OPCODE], second[MAX_OPCODE]; /* of a pair; 0: it is none */
    bool backward[MAX_OPCODE], no_fallthrough[MAX_OPCODE], returns[MAX_OPCODE];
    bool intrinsic[MAX_OPCODE];
} table;

static const struct {
    const char *name;
    enum op_kind kind;
} kinds[] = {
    {"STORE_NAME", OP_STORE_NAME},
    {"STORE_GLOBAL", OP_STORE_NAME},
    {"DELETE_NAME", OP_DELETE_NAME},
    {"DELETE_GLOBAL", OP_DELETE_NAME},
    {"LOAD_NAME", OP_LOAD_NAME},
    {"LOAD_GLOBAL", OP_LOAD_NAME},
    {"LOAD_FROM_DICT_OR_GLOBALS", OP_LOAD_NAME},
    {"LOAD_ATTR", OP_LOAD_ATTR},
    {"LOAD_METHOD", OP_LOAD_ATTR},
    {"STORE_ATTR", OP_STORE_ATTR},
    {"STORE_SUBSCR", OP_STORE_SUBSCR},
    {"DELETE_SUBSCR", OP_DELETE_SUBSCR},
    {"LOAD_CONST", OP_LOAD_CONST},
    {"RETURN_CONST", OP_LOAD_CONST},
    {"LOAD_SMALL_INT", OP_LOAD_CONST},
    {"IMPORT_NAME", OP_IMPORT_NAME},
    {"IMPORT_FROM", OP_IMPORT_FROM},
    {"IMPORT_STAR", OP_IMPORT_STAR},
    {"MAKE_FUNCTION", OP_MAKE_FUNCTION},
    {"LOAD_BUILD_CLASS", OP_BUILD_CLASS},
    {"CALL_FUNCTION", OP_CALL},
    {"CALL_FUNCTION_KW", OP_CALL},
    {"CALL_FUNCTION_EX", OP_CALL},
    {"CALL_METHOD", OP_CALL},
    {"CALL", OP_CALL},
    {"CALL_KW", OP_CALL},
    {"BUILD_TUPLE", OP_BUILD_TUPLE},
    {"BUILD_LIST", OP_BUILD_LIST},
    {"BUILD_MAP", OP_BUILD_MAP},
    {"BUILD_SET", OP_BUILD_SET},
    {"BUILD_CONST_KEY_MAP", OP_BUILD_CONST_KEY_MAP},
    {"LIST_EXTEND", OP_EXTEND},
    {"SET_UPDATE", OP_EXTEND},
    {"DICT_UPDATE", OP_DICT_UPDATE},
    {"LIST_APPEND", OP_ADD},
    {"SET_ADD", OP_ADD},
    {"MAP_ADD", OP_ADD},
    {"UNPACK_SEQUENCE", OP_SHUFFLE},
    {"UNPACK_EX", OP_SHUFFLE},
    {"COPY", OP_SHUFFLE},
    {"SWAP", OP_SHUFFLE},
    {"DUP_TOP", OP_SHUFFLE},
    {"ROT_TWO", OP_SHUFFLE},
    {"ROT_THREE", OP_SHUFFLE},
    {"ROT_FOUR", OP_SHUFFLE},
    {"ROT_N", OP_SHUFFLE},
    {"SET_FUNCTION_ATTRIBUTE", OP_SET_FUNCTION_ATTRIBUTE},
};

static const char *const ends[] = {
    "JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT",
    "RETURN_VALUE", "RETURN_CONST",  "RAISE_VARARGS", "RERAISE",
};

/* Two instructions in one, with two arguments of four bits, which the compiler of 3.13+ makes if
 * both are on the same line (Python/flowgraph.c, insert_superinstructions). */
static const char *const pairs[][3] = {
    {"LOAD_FAST_LOAD_FAST", "LOAD_FAST", "LOAD_FAST"},
    {"LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST_BORROW", "LOAD_FAST_BORROW"},
    {"STORE_FAST_LOAD_FAST", "STORE_FAST", "LOAD_FAST"},
    {"STORE_FAST_STORE_FAST", "STORE_FAST", "STORE_FAST"},
};

static int opcode_number(PyObject *opmap, const char *name)
{
    PyObject *number = dict_get(opmap, name);
    long value = number ? PyLong_AsLong(number) : -1;

    return value < MAX_OPCODE ? (int)value : -1;
}

static void set_arg_kind(PyObject *tables, const char *list_name, enum arg_kind kind)
{
    PyObject *list = dict_get(tables, list_name);

    for (Py_ssize_t i = 0; list && is_list(list) && i < PyList_Size(list); i++) {
        long opcode = PyLong_AsLong(PyList_GetItem(list, i));

        if (opcode >= 0 && opcode < MAX_OPCODE)
            table.arg[opcode] = kind;
    }
}

static void set_shift(PyObject *opmap, const char *name, int shift)
{
    int opcode = opcode_number(opmap, name);

    if (opcode >= 0)
        table.shift[opcode] = shift;
}

static void read_opmap(PyObject *opmap)
{
    int minor = cpython_minor();
    PyObject *key, *value;
    Py_ssize_t at = 0;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int opcode = opcode_number(opmap, kinds[i].name);

        if (opcode >= 0)
            table.kind[opcode] = kinds[i].kind;
    }
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int opcode = opcode_number(opmap, ends[i]);

        if (opcode >= 0)
            table.no_fallthrough[opcode] = true;
        if (opcode >= 0)
            table.returns[opcode] = strncmp(ends[i], "RETURN_", 7) == 0;
    }
    for (size_t i = 0; minor >= 13 && i < sizeof pairs / sizeof pairs[0]; i++) {
        int pair = opcode_number(opmap, pairs[i][0]);

        if (pair < 0)
            continue;
        table.first[pair] = (unsigned char)opcode_number(opmap, pairs[i][1]);
        table.second[pair] = (unsigned char)opcode_number(opmap, pairs[i][2]);
    }
    while (PyDict_Next(opmap, &at, &key, &value)) {
        const char *name = is_str(key) ? PyUnicode_AsUTF8(key) : NULL;
        long opcode = is_int(value) ? PyLong_AsLong(value) : -1;

        if (name && opcode >= 0 && opcode < MAX_OPCODE && strstr(name, "JUMP_BACKWARD"))
            table.backward[opcode] = true;
    }
    table.extended_arg = opcode_number(opmap, "EXTENDED_ARG");
    table.cache = opcode_number(opmap, "CACHE");
    table.nop = opcode_number(opmap, "NOP");
    table.common_constant = opcode_number(opmap, "LOAD_COMMON_CONSTANT");
    table.small_int = opcode_number(opmap, "LOAD_SMALL_INT");
    if (opcode_number(opmap, "CALL_INTRINSIC_1") >= 0)
        table.intrinsic[opcode_number(opmap, "CALL_INTRINSIC_1")] = true;
    if (minor >= 11)
        set_shift(opmap, "LOAD_GLOBAL", 1);
    if (minor >= 12)
        set_shift(opmap, "LOAD_ATTR", 1);
    if (minor >= 15)
        set_shift(opmap, "IMPORT_NAME", 2);
    set_shift(opmap, "LOAD_SUPER_ATTR", 2);
}

/* opmap is a dict, from 3.15 a frozendict: a copy of it. */
static PyObject *copy_opmap(PyObject *tables)
{
    PyObject *opmap = dict_get(tables, "opmap"), *copy = PyDict_New();

    if (opmap && copy && PyDict_Update(copy, opmap) == 0)
        return copy;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "pyhot: this Python has no table of opcodes");
    Py_DecRef(copy);
    return NULL;
}

/* Kept for as long as the process lives, as the rest of the table. */
static int make_common_constants(void)
{
    if (table.common[COMMON_NONE] || cpython_minor() < 15)
        return 0;
    table.common[COMMON_EMPTY] = PyUnicode_FromString("");
    table.common[COMMON_TRUE] = PyBool_FromLong(1);
    table.common[COMMON_FALSE] = PyBool_FromLong(0);
    table.common[COMMON_MINUS_ONE] = PyLong_FromLong(-1);
    for (size_t i = COMMON_EMPTY; i < N_COMMON; i++) {
        if (!table.common[i])
            return -1;
    }
    table.common[COMMON_NONE] = Py_None;
    return 0;
}

int bytecode_prepare(void)
{
    PyObject *tables, *opmap;

    if (table.ready)
        return 0;
    tables = opcode_tables();
    if (!tables)
        return -1;
    opmap = make_common_constants() == 0 ? copy_opmap(tables) : NULL;
    if (opmap) {
        read_opmap(opmap);
        set_arg_kind(tables, "hasname", ARG_NAME);
        set_arg_kind(tables, "hasconst", ARG_CONST);
        set_arg_kind(tables, "haslocal", ARG_LOCAL);
        set_arg_kind(tables, "hasjrel", ARG_JUMP);
        set_arg_kind(tables, "hasjabs", ARG_JUMP_ABSOLUTE);
        PyErr_Clear();
        table.ready = true;
    }
    Py_DecRef(opmap);
    Py_DecRef(tables);
    return opmap ? 0 : -1;
}

PyObject *code_attribute(PyObject *code, const char *name)
{
    return PyErr_Occurred() ? NULL : PyObject_GetAttrString(code, name);
}

long code_number(PyObject *code, const char *name)
{
    PyObject *value = code_attribute(code, name);
    long number = value ? PyLong_AsLong(value) : -1;

    Py_DecRef(value);
    drop_error();
    return number;
}

bool code_is_namespace(PyObject *code)
{
    return !(code_number(code, "co_flags") & CO_OPTIMIZED);
}

/* tuple[index], or NULL when it is out of range. */
static PyObject *item(PyObject *tuple, long index)
{
    return index >= 0 && index < PyTuple_Size(tuple) ? PyTuple_GetItem(tuple, index) : NULL;
}

/* What LOAD_SMALL_INT (3.14+) loads.  Borrowed: these are immortal, and made with the interpreter
 * (Include/internal/pycore_long.h). */
static PyObject *small_int(int value)
{
    PyObject *number = PyLong_FromLong(value);

    Py_DecRef(number);
    return number;
}

static void resolve_argument(const struct bytecode *code, struct instruction *in)
{
    switch (table.arg[in->opcode]) {
    case ARG_NAME:
        in->name = item(code->names, in->arg >> table.shift[in->opcode]);
        break;
    case ARG_CONST:
        in->value = item(code->consts, in->arg);
        break;
    case ARG_LOCAL:
        in->name = item(code->locals, in->arg);
        break;
    default:
        break;
    }
    in->kind = table.kind[in->opcode];
    if (in->opcode == table.common_constant && in->arg < N_COMMON && table.common[in->arg]) {
        in->kind = OP_LOAD_CONST;
        in->value = table.common[in->arg];
    }
    if (in->opcode == table.small_int)
        in->value = small_int(in->arg);
    if (table.intrinsic[in->opcode] && in->arg == INTRINSIC_IMPORT_STAR)
        in->kind = OP_IMPORT_STAR;
}

/* Where a jump goes, in units of two bytes; `next` is the unit after it and its caches. */
static long jump_unit(const struct instruction *in, long next)
{
    long units = cpython_minor() >= 10 ? in->arg : in->arg / 2;

    switch (table.arg[in->opcode]) {
    case ARG_JUMP:
        return table.backward[in->opcode] ? next - units : next + units;
    case ARG_JUMP_ABSOLUTE:
        return units;
    default:
        return -1;
    }
}

static void add_instruction(struct bytecode *code, int opcode, int arg, size_t unit, size_t next)
{
    struct instruction *in = &code->at[code->n++];

    *in = (struct instruction){.opcode = opcode, .arg = arg, .unit = unit, .depth = DEPTH_UNKNOWN};
    resolve_argument(code, in);
    in->target = jump_unit(in, (long)next);
}

/* Reads all units; in->target is still a unit.  `index_of` gets, for each unit, the index of
 * the instruction that is there or follows. */
static void read_units(struct bytecode *code, const unsigned char *text, size_t units,
                       size_t *index_of)
{
    size_t begin = 0;
    int extended = 0;

    for (size_t unit = 0; unit < units; unit++) {
        int opcode = text[2 * unit], arg = extended | text[2 * unit + 1];
        size_t next = unit + 1;

        index_of[unit] = code->n;
        if (opcode == table.extended_arg) {
            if (!extended)
                begin = unit;
            extended = arg << 8;
            continue;
        }
        if (!extended)
            begin = unit;
        extended = 0;
        if ((table.cache >= 0 && opcode == table.cache) || opcode == table.nop)
            continue;
        while (table.cache >= 0 && next < units && text[2 * next] == table.cache)
            next++;
        if (table.first[opcode]) {
            add_instruction(code, table.first[opcode], arg >> 4, begin, next);
            add_instruction(code, table.second[opcode], arg & 15, begin, next);
        } else {
            add_instruction(code, opcode, arg, begin, next);
        }
    }
    index_of[units] = code->n;
}

static void resolve_targets(struct bytecode *code, const size_t *index_of, size_t units)
{
    for (size_t i = 0; i < code->n; i++) {
        struct instruction *in = &code->at[i];

        if (in->target >= 0)
            in->target = (size_t)in->target <= units ? (ptrdiff_t)index_of[in->target] : -1;
    }
}

static int effect(const struct instruction *in, int jump)
{
    int change = PyCompile_OpcodeStackEffectWithJump(in->opcode, in->arg, jump);

    /* PY_INVALID_STACK_EFFECT is INT_MAX. */
    return change > 1000 || change < -100000 ? 0 : change;
}

/* One pass in the order of the code.  Code that only an exception reaches starts with an
 * unknown depth, taken as 0: inside a statement only differences matter. */
static void fill_depths(struct bytecode *code)
{
    int depth = 0;

    for (size_t i = 0; i < code->n; i++) {
        struct instruction *in = &code->at[i], *target;

        if (in->depth == DEPTH_UNKNOWN)
            in->depth = depth < 0 ? 0 : depth;
        target = in->target > (ptrdiff_t)i && in->target < (ptrdiff_t)code->n
                     ? &code->at[in->target]
                     : NULL;
        if (target && target->depth == DEPTH_UNKNOWN) {
            int there = in->depth + effect(in, 1);

            target->depth = there < 0 ? 0 : there;
        }
        depth = table.no_fallthrough[in->opcode] ? 0 : in->depth + effect(in, 0);
    }
}

static int decode_text(struct bytecode *code, PyObject *text)
{
    size_t units = (size_t)PyBytes_Size(text) / 2;
    size_t *index_of = malloc((units + 1) * sizeof *index_of);

    code->at = malloc((2 * units + 1) * sizeof *code->at);
    if (!index_of || !code->at) {
        free(index_of);
        PyErr_NoMemory();
        return -1;
    }
    read_units(code, (const unsigned char *)PyBytes_AsString(text), units, index_of);
    resolve_targets(code, index_of, units);
    fill_depths(code);
    free(index_of);
    return 0;
}

int bytecode_decode(PyObject *object, struct bytecode *code)
{
    PyObject *text;
    int status = -1;

    memset(code, 0, sizeof *code);
    if (bytecode_prepare() < 0)
        return -1;
    Py_IncRef(object);
    code->code = object;
    code->consts = code_attribute(object, "co_consts");
    code->names = code_attribute(object, "co_names");
    code->locals = code_attribute(object, "co_varnames");
    text = code_attribute(object, "co_code");
    if (text && code->consts && code->names && code->locals)
        status = decode_text(code, text);
    Py_DecRef(text);
    if (status < 0)
        bytecode_clear(code);
    return status;
}

void bytecode_clear(struct bytecode *code)
{
    free(code->at);
    Py_DecRef(code->code);
    Py_DecRef(code->consts);
    Py_DecRef(code->names);
    Py_DecRef(code->locals);
    memset(code, 0, sizeof *code);
}

static int str_same(PyObject *a, PyObject *b)
{
    int order = PyUnicode_Compare(a, b);

    return order == -1 && PyErr_Occurred() ? -1 : order == 0;
}

static int tuple_same(PyObject *a, PyObject *b)
{
    if (PyTuple_Size(a) != PyTuple_Size(b))
        return 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(a); i++) {
        int same = constant_same(PyTuple_GetItem(a, i), PyTuple_GetItem(b, i));

        if (same != 1)
            return same;
    }
    return 1;
}

int constant_same(PyObject *a, PyObject *b)
{
    double x, y;

    if (a == b)
        return 1;
    if (type_of(a) != type_of(b))
        return 0;
    if (type_of(a) == &PyTuple_Type)
        return tuple_same(a, b);
    if (type_of(a) == &PyCode_Type)
        return program_same(a, b);
    if (type_of(a) == &PyFloat_Type) {
        x = PyFloat_AsDouble(a);
        y = PyFloat_AsDouble(b);
        return memcmp(&x, &y, sizeof x) == 0; /* 0.0 and -0.0 differ, a NaN is itself */
    }
    if (type_of(a) == &PyUnicode_Type)
        return str_same(a, b);
    /* What is left as a constant compares in C. */
    if (type_of(a) == &PyLong_Type || type_of(a) == &PyBytes_Type ||
        type_of(a) == &PyComplex_Type || type_of(a) == &PyFrozenSet_Type ||
        type_of(a) == &PySlice_Type)
        return PyObject_RichCompareBool(a, b, Py_EQ);
    return 0;
}

static int instruction_same(const struct instruction *a, ptrdiff_t from_a,
                            const struct instruction *b, ptrdiff_t from_b)
{
    if (a->opcode != b->opcode)
        return 0;
    if (a->name && b->name) {
        int flags = (1 << table.shift[a->opcode]) - 1;

        return (a->arg & flags) == (b->arg & flags) ? str_same(a->name, b->name) : 0;
    }
    if (a->value && b->value)
        return constant_same(a->value, b->value);
    if (a->target >= 0 && b->target >= 0)
        return a->target - from_a == b->target - from_b;
    return a->arg == b->arg;
}

/* `__firstlineno__ = N` in a class body (3.13+) is a line number, not a difference. */
static bool is_first_line(const struct bytecode *code, size_t i)
{
    return i + 1 < code->n && code->at[i + 1].kind == OP_STORE_NAME && code->at[i + 1].name &&
           str_is(code->at[i + 1].name, "__firstlineno__");
}

/* Two lambdas, whatever they do. */
static int both_lambdas(const struct instruction *a, const struct instruction *b)
{
    PyObject *codes[] = {a->value, b->value};

    for (size_t i = 0; i < 2; i++) {
        PyObject *name;
        bool is;

        if (!codes[i] || type_of(codes[i]) != &PyCode_Type)
            return 0;
        name = code_attribute(codes[i], "co_name");
        if (!name)
            return -1;
        is = str_is(name, "<lambda>");
        Py_DecRef(name);
        if (!is)
            return 0;
    }
    return 1;
}

static int append_pair(PyObject *list, PyObject *a, PyObject *b)
{
    return PyList_Append(list, a) < 0 ? -1 : PyList_Append(list, b);
}

int bytecode_same_but_lambdas(const struct bytecode *a, size_t from_a, const struct bytecode *b,
                              size_t from_b, size_t n, PyObject *lambdas)
{
    for (size_t i = 0; i < n; i++) {
        const struct instruction *x = &a->at[from_a + i], *y = &b->at[from_b + i];
        int same = instruction_same(x, from_a, y, from_b);

        if (same == 0 && is_first_line(a, from_a + i) && is_first_line(b, from_b + i))
            same = 1;
        if (same == 0 && lambdas && x->opcode == y->opcode && (same = both_lambdas(x, y)) == 1)
            same = append_pair(lambdas, x->value, y->value) < 0 ? -1 : 1;
        if (same != 1)
            return same;
    }
    return 1;
}

bool instruction_returns(const struct instruction *instruction)
{
    return table.returns[instruction->opcode];
}

bool instruction_goes_on(const struct instruction *instruction)
{
    return !table.no_fallthrough[instruction->opcode];
}

int bytecode_same(const struct bytecode *a, size_t from_a, const struct bytecode *b, size_t from_b,
                  size_t n)
{
    return bytecode_same_but_lambdas(a, from_a, b, from_b, n, NULL);
}

/* Everything but the instructions, lines and constants. */
static int signature_same(PyObject *a, PyObject *b)
{
    static const char *const parts[] = {
        "co_name",  "co_argcount", "co_posonlyargcount", "co_kwonlyargcount",
        "co_flags", "co_varnames", "co_freevars",        "co_cellvars",
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        PyObject *x = code_attribute(a, parts[i]), *y = code_attribute(b, parts[i]);
        int same = x && y ? constant_same(x, y) : -1;

        Py_DecRef(x);
        Py_DecRef(y);
        if (same != 1)
            return same;
    }
    return 1;
}

int program_same(PyObject *a, PyObject *b)
{
    struct bytecode x, y = {0};
    int same = PyObject_RichCompareBool(a, b, Py_EQ); /* to the byte, by far the quickest way */

    if (same != 0)
        return same;
    same = signature_same(a, b);
    if (same != 1)
        return same;
    if (bytecode_decode(a, &x) < 0)
        return -1;
    same = bytecode_decode(b, &y);
    if (same == 0)
        same = x.n == y.n ? bytecode_same(&x, 0, &y, 0, x.n) : 0;
    if (same == 1)
        same = exceptions_same(&x, &y);
    bytecode_clear(&x);
    bytecode_clear(&y);
    return same;
}

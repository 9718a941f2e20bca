/* pyhot loaded-modules PID: the names in sys.modules, a line each, for completion where nothing may
 * run in the process (scripts/pyhot-gdb.py).  Not in the list of commands: people have list-stale.
 *
 * The main interpreter's dict of modules is read from outside (runtime_layout.h), whoever traces
 * the process and whether it runs or not.  Nothing is believed that does not look right: types are
 * known by their names, and what is not an identifier with dots in ASCII is left out. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "page_cache.h"
#include "python.h"
#include "report.h"
#include "runtime_layout.h"

enum {
    MOST_ENTRIES = 1 << 20,
    MOST_NAME = 512,
    WORD = sizeof(uint64_t),
    OB_TYPE = 8,         /* in PyObject: Include/object.h */
    TP_NAME = 24,        /* in PyTypeObject: Include/cpython/object.h */
    MA_KEYS = 32,        /* in PyDictObject: Include/cpython/dictobject.h */
    STR_LENGTH = 16,     /* in PyASCIIObject: Include/cpython/unicodeobject.h */
    STR_STATE = 32,      /* kind, compact and ascii are in the same bits of it in all versions */
    STR_KIND_ETC = 0x7c, /* bits 2 to 6 */
    STR_ASCII = 0x64,    /* kind 1, compact, ascii */
};

/* struct _dictkeysobject, as far as it is needed here: agent/cpython/dict.c. */
struct dict_keys {
    uint64_t entries, n_entries;
    unsigned entry_size, key; /* the value follows the key */
};

static bool has_type(struct page_cache *memory, uint64_t object, const char *expected)
{
    uint64_t type, name;
    char text[16];

    return !page_cache_read(memory, object + OB_TYPE, &type, WORD) &&
           !page_cache_read(memory, type + TP_NAME, &name, WORD) &&
           !page_cache_read_string(memory, name, text, sizeof(text)) && !strcmp(text, expected);
}

/* To 3.10, Objects/dict-common.h. */
static bool read_old_keys(struct page_cache *memory, uint64_t at, struct dict_keys *keys)
{
    struct {
        uint64_t refcnt, size, lookup, usable, n_entries;
    } head;

    if (page_cache_read(memory, at, &head, sizeof(head)) || head.size > MOST_ENTRIES)
        return false;
    *keys = (struct dict_keys){
        .entries = at + sizeof(head) +
                   head.size * (head.size <= 0xff     ? 1
                                : head.size <= 0xffff ? 2
                                                      : 4),
        .n_entries = head.n_entries,
        .entry_size = 3 * WORD,
        .key = WORD,
    };
    return true;
}

/* From 3.11, Include/internal/pycore_dict.h. */
static bool read_new_keys(struct page_cache *memory, uint64_t at, struct dict_keys *keys)
{
    enum { GENERAL, UNICODE };
    struct {
        uint64_t refcnt;
        uint8_t log2_size, log2_index_bytes, kind, padding;
        uint32_t version;
        uint64_t usable, n_entries;
    } head;

    /* log2_index_bytes is of the whole table of indices. */
    if (page_cache_read(memory, at, &head, sizeof(head)) || head.log2_index_bytes > 24 ||
        head.kind > UNICODE)
        return false;
    *keys = (struct dict_keys){
        .entries = at + sizeof(head) + (UINT64_C(1) << head.log2_index_bytes),
        .n_entries = head.n_entries,
        .entry_size = (head.kind == GENERAL ? 3 : 2) * WORD,
        .key = head.kind == GENERAL ? WORD : 0,
    };
    return true;
}

static bool is_module_name(const char *name)
{
    bool start = true;

    for (; *name; name++) {
        if (*name == '.' ? start : !(isalpha(*name) || *name == '_' || (!start && isdigit(*name))))
            return false;
        start = *name == '.';
    }
    return !start;
}

static void print_name(struct page_cache *memory, uint64_t string, unsigned text_offset)
{
    char name[MOST_NAME];
    uint64_t length;
    uint32_t state;

    if (!has_type(memory, string, "str") ||
        page_cache_read(memory, string + STR_LENGTH, &length, WORD) || length >= sizeof(name) ||
        page_cache_read(memory, string + STR_STATE, &state, sizeof(state)) ||
        (state & STR_KIND_ETC) != STR_ASCII ||
        page_cache_read(memory, string + text_offset, name, length))
        return;
    name[length] = '\0';
    if (is_module_name(name))
        puts(name);
}

/* Prints none where something is not as it should be: then there is nothing to complete. */
static void print_modules(const struct python *python, pid_t pid)
{
    const struct modules_layout *layout = modules_layout(python->minor);
    struct page_cache memory = {.pid = pid};
    uint64_t interpreter, modules, at, entry[3];
    struct dict_keys keys;

    if (layout && !page_cache_read(&memory, python->runtime + layout->main, &interpreter, WORD) &&
        !page_cache_read(&memory, interpreter + layout->modules, &modules, WORD) &&
        has_type(&memory, modules, "dict") &&
        !page_cache_read(&memory, modules + MA_KEYS, &at, WORD) &&
        (python->minor <= 10 ? read_old_keys(&memory, at, &keys)
                             : read_new_keys(&memory, at, &keys)) &&
        keys.n_entries <= MOST_ENTRIES)
        for (uint64_t i = 0; i < keys.n_entries; i++)
            if (!page_cache_read(&memory, keys.entries + i * keys.entry_size + keys.key, entry,
                                 2 * WORD) &&
                entry[0] && entry[1] && !has_type(&memory, entry[1], "NoneType"))
                print_name(&memory, entry[0], layout->text);
    page_cache_clear(&memory);
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    struct target target;
    struct python python;
    struct error *error = target_open_traced(&target, options->pid);

    *status = EXIT_DONE;
    if (error)
        return error;
    error = python_find(&python, &target);
    if (!error) {
        print_modules(&python, target.pid);
        python_clear(&python);
    }
    target_close(&target);
    return error;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    error_t result = parse_process(key, argument, state);

    if (options->modules.n)
        argp_error(state, "loaded-modules takes one process: \"%s\"", argument);
    return result;
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "PID",
    .doc =
        "Print the names of the modules that process PID has loaded, a line each.  Only reads its "
        "memory.",
    .children = common_options,
};

const struct command command_loaded_modules = {
    .name = "loaded-modules",
    .argp = &argp,
    .run = run,
};

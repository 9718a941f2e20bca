/* libunwind with accessors of our own: nothing is read twice over retries, and libunwind cannot
 * fall back to guessing by frame pointers, as it does on x86_64 for code without unwinding
 * information (src/x86_64/Gstep.c): such a frame is an error here. */
#include "unwinder.h"

#include <libunwind.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Exported by libunwind for debuggers, but declared in none of its headers. */
#define search_unwind_table UNW_OBJ(dwarf_search_unwind_table)
int search_unwind_table(unw_addr_space_t, unw_word_t ip, unw_dyn_info_t *, unw_proc_info_t *,
                        int need_unwind_info, void *);

enum { STACK_WINDOW = 64 * 1024, PAGE = 4096 };

struct unwinder {
    struct codemap *map;
    unw_addr_space_t space;
    unw_cursor_t cursor;
    struct arch_registers registers;
    bool no_information;
    uint64_t window_start;
    size_t window_size;
    unsigned char window[STACK_WINDOW];
};

static int find_procedure(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info,
                          int need_unwind_info, void *arg)
{
    struct unwinder *unwinder = arg;
    const struct code_image *image = codemap_find(unwinder->map, ip);
    if (image && image->unwind_header) {
        unw_dyn_info_t table = {
            .start_ip = image->start,
            .end_ip = image->end,
            .format = UNW_INFO_FORMAT_REMOTE_TABLE,
            .u.rti = {.segbase = image->unwind_header,
                      .table_data = image->unwind_table,
                      .table_len =
                          image->unwind_entries * 2 * sizeof(int32_t) / sizeof(unw_word_t)},
        };
        int status = search_unwind_table(space, ip, &table, info, need_unwind_info, arg);
        if (status >= 0)
            return status;
    }
    unwinder->no_information = true;
    return -UNW_ENOINFO;
}

static void put_unwind_information(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)space, (void)info, (void)arg; /* libunwind frees its own */
}

static int no_dynamic_list(unw_addr_space_t space, unw_word_t *address, void *arg)
{
    (void)space, (void)address, (void)arg;
    return -UNW_ENOINFO;
}

/* Moves the window so that `address` is near its start; it may end before the stack does. */
static void move_window(struct unwinder *unwinder, uint64_t address)
{
    uint64_t start = address & ~7ull;
    struct iovec local = {unwinder->window, STACK_WINDOW};
    /* A vector of pages: the call fills those that there are (process_vm_readv(2)). */
    struct iovec pages[STACK_WINDOW / PAGE + 1];
    size_t n = 0;
    for (uint64_t at = start; at < start + STACK_WINDOW; n++) {
        uint64_t next = (at / PAGE + 1) * PAGE;
        if (next > start + STACK_WINDOW)
            next = start + STACK_WINDOW;
        pages[n] = (struct iovec){(void *)(uintptr_t)at, next - at};
        at = next;
    }
    ssize_t got = process_vm_readv(unwinder->map->view.pid, &local, 1, pages, n, 0);
    unwinder->window_start = start;
    unwinder->window_size = got > 0 ? (size_t)got : 0;
}

static bool in_window(const struct unwinder *unwinder, uint64_t address)
{
    return address >= unwinder->window_start &&
           address + sizeof(unw_word_t) <= unwinder->window_start + unwinder->window_size;
}

static int access_memory(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
                         void *arg)
{
    struct unwinder *unwinder = arg;
    (void)space;
    if (write)
        return -UNW_EINVAL;
    if (!in_window(unwinder, address)) {
        const struct mapping *mapping = target_mapping_at(&unwinder->map->view, address);
        if (mapping && mapping->perms[1] != 'w')
            return page_cache_read(&unwinder->map->cache, address, value, sizeof *value)
                       ? -UNW_EINVAL
                       : 0;
        move_window(unwinder, address);
        if (!in_window(unwinder, address))
            return -UNW_EINVAL;
    }
    memcpy(value, unwinder->window + (address - unwinder->window_start), sizeof *value);
    return 0;
}

static int access_register(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value,
                           int write, void *arg)
{
    struct unwinder *unwinder = arg;
    (void)space;
    if (write || !arch_unwind_register(&unwinder->registers, number, value))
        return -UNW_EBADREG;
    return 0;
}

static int no_float_register(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value,
                             int write, void *arg)
{
    (void)space, (void)number, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int no_name(unw_addr_space_t space, unw_word_t address, char *buffer, size_t size,
                   unw_word_t *offset, void *arg)
{
    (void)space, (void)address, (void)buffer, (void)size, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

static unw_accessors_t accessors = {
    .find_proc_info = find_procedure,
    .put_unwind_info = put_unwind_information,
    .get_dyn_info_list_addr = no_dynamic_list,
    .access_mem = access_memory,
    .access_reg = access_register,
    .access_fpreg = no_float_register,
    .resume = no_resume,
    .get_proc_name = no_name,
};

struct unwinder *unwinder_new(struct codemap *map)
{
    struct unwinder *unwinder = calloc(1, sizeof *unwinder);
    if (!unwinder)
        return NULL;
    unwinder->map = map;
    unwinder->space = unw_create_addr_space(&accessors, 0);
    if (!unwinder->space) {
        free(unwinder);
        return NULL;
    }
    unw_set_caching_policy(unwinder->space, UNW_CACHE_GLOBAL);
    return unwinder;
}

void unwinder_free(struct unwinder *unwinder)
{
    if (!unwinder)
        return;
    unw_destroy_addr_space(unwinder->space);
    free(unwinder);
}

void unwinder_forget(struct unwinder *unwinder)
{
    unw_flush_cache(unwinder->space, 0, 0);
}

int unwinder_begin(struct unwinder *unwinder, const struct arch_registers *registers)
{
    unwinder->registers = *registers;
    unwinder->no_information = false;
    move_window(unwinder, arch_sp(registers));
    return unw_init_remote(&unwinder->cursor, unwinder->space, unwinder) < 0 ? -1 : 0;
}

uint64_t unwinder_ip(struct unwinder *unwinder)
{
    unw_word_t ip = 0;
    unw_get_reg(&unwinder->cursor, UNW_REG_IP, &ip);
    return ip;
}

int unwinder_step(struct unwinder *unwinder)
{
    int status = unw_step(&unwinder->cursor);
    if (status < 0 || unwinder->no_information)
        return -1;
    return status > 0;
}

/* The mapped code of the target (codemap.h). */
#include "codemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "elf_memory.h"
#include "image.h"

/* Functions of the C library that hold no lock of its own while they are in the kernel, so that
 * a thread inside may call pthread_create.  Anything else may hold one of malloc, of the loader
 * or of the list of stacks, as pthread_join does when it frees the thread's stack. */
/* clang-format off */
static const char *const sleepers[] = {
    "accept", "accept4", "clock_nanosleep", "connect", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "fcntl", "fdatasync", "flock", "fsync", "ioctl", "lockf", "msgrcv", "msgsnd",
    "nanosleep", "open", "open64", "openat", "openat64", "pause", "poll", "ppoll", "pread",
    "pread64", "pselect", "pthread_cond_clockwait", "pthread_cond_timedwait",
    "pthread_cond_wait", "pthread_mutex_lock", "pthread_mutex_timedlock",
    "pthread_rwlock_rdlock", "pthread_rwlock_wrlock", "pwrite", "pwrite64", "read", "readv",
    "recv", "recvfrom", "recvmmsg", "recvmsg", "select", "sem_clockwait", "sem_timedwait",
    "sem_wait", "semop", "semtimedop", "send", "sendfile", "sendfile64", "sendmsg", "sendto",
    "sigsuspend", "sigtimedwait", "sigwait", "sigwaitinfo", "sleep", "splice", "syscall",
    "usleep", "wait", "wait3", "wait4", "waitid", "waitpid", "write", "writev",
};
/* clang-format on */
enum { N_SLEEPERS = sizeof sleepers / sizeof *sleepers, MAX_VERSIONS = 4, MAX_TAIL_CALLS = 8 };

static int compare_addresses(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct error *no_memory(void)
{
    return error_errno(EXIT_CANNOT_ATTACH, "out-of-memory", ENOMEM, "pyhot cannot go on");
}

static bool grow_sleepers(struct codemap *map, size_t more)
{
    uint64_t *grown = reallocarray(map->sleepers, map->n_sleepers + more, sizeof *grown);
    if (grown)
        map->sleepers = grown;
    return grown;
}

/* Functions that `function` ends in a jump to: on the stack they stand in its place.  sem_wait
 * and its like do that. */
static size_t tail_calls(struct codemap *map, const struct code_image *image, uint64_t function,
                         uint64_t *callees, size_t max)
{
    enum { MAX_SIZE = 4096, MAX_JUMPS = 256 };
    unsigned char code[MAX_SIZE];
    uint64_t targets[MAX_JUMPS];
    size_t n = 0, size = codemap_function_end(map, image, function) - function;

    if (!size || size > MAX_SIZE || page_cache_read(&map->cache, function, code, size))
        return 0;
    size_t jumps = arch_jump_targets(code, size, function, targets, MAX_JUMPS);
    for (size_t i = 0; i < jumps && n < max; i++)
        if (targets[i] >= image->start && targets[i] < image->end &&
            targets[i] - function >= size &&
            codemap_function_start(map, image, targets[i]) == targets[i])
            callees[n++] = targets[i];
    return n;
}

static struct error *add_sleepers(struct codemap *map, const struct code_image *image,
                                  struct elf_memory *elf)
{
    size_t first = map->n_sleepers;
    if (!grow_sleepers(map, (size_t)N_SLEEPERS * MAX_VERSIONS))
        return no_memory();
    for (size_t i = 0; i < N_SLEEPERS; i++)
        map->n_sleepers +=
            elf_memory_exports(elf, sleepers[i], map->sleepers + map->n_sleepers, MAX_VERSIONS);
    size_t last = map->n_sleepers;
    for (size_t i = first; i < last; i++) {
        if (!grow_sleepers(map, MAX_TAIL_CALLS))
            return no_memory();
        map->n_sleepers += tail_calls(map, image, map->sleepers[i], map->sleepers + map->n_sleepers,
                                      MAX_TAIL_CALLS);
    }
    qsort(map->sleepers, map->n_sleepers, sizeof *map->sleepers, compare_addresses);
    return NULL;
}

static bool exports(struct elf_memory *elf, const char *name)
{
    uint64_t address;
    return elf_memory_exports(elf, name, &address, 1) > 0;
}

static enum code_kind classify(struct elf_memory *elf)
{
    if (exports(elf, "__libc_start_main"))
        return CODE_C_LIBRARY;
    if (exports(elf, "__tls_get_addr") || exports(elf, "dlopen"))
        return CODE_LOADER;
    if (exports(elf, "malloc"))
        return CODE_ALLOCATOR;
    if (exports(elf, "pthread_create"))
        return CODE_C_LIBRARY;
    return CODE_ORDINARY;
}

/* Is all code in this file CPython's own, which expects any EINTR (PEP 475)?  A program that has
 * it built in has code of its own, and _ctypes may have libffi, which calls anything. */
static bool is_cpython(struct elf_memory *elf, const char *path, const char *name)
{
    if (strstr(path, "/lib-dynload/"))
        return strncmp(name, "_ctypes", strlen("_ctypes")) != 0;
    if (!strncmp(name, "lib", strlen("lib")))
        name += strlen("lib");
    return !strncmp(name, "python", strlen("python")) && exports(elf, "Py_BytesMain");
}

/* .eh_frame_hdr: version, three encodings, then with the encodings that every linker writes two
 * words (address of .eh_frame, number of entries) and a sorted table of pairs of words. */
static void read_unwind_header(struct code_image *image, struct page_cache *cache, uint64_t at)
{
    struct {
        uint8_t version, eh_frame_encoding, count_encoding, table_encoding;
        uint32_t eh_frame, count;
    } header;
    enum { PCREL_SDATA4 = 0x1b, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };

    if (!at || page_cache_read(cache, at, &header, sizeof header) || header.version != 1 ||
        header.eh_frame_encoding != PCREL_SDATA4 || header.count_encoding != UDATA4 ||
        header.table_encoding != DATAREL_SDATA4)
        return;
    image->unwind_header = at;
    image->unwind_table = at + sizeof header;
    image->unwind_entries = header.count;
}

static struct error *add_image(struct codemap *map, const struct mapping *mapping)
{
    struct elf_memory elf;
    struct code_image *image = &map->images[map->n_images];
    const char *slash = strrchr(mapping->path, '/');

    *image = (struct code_image){
        .start = mapping->start,
        .end = mapping->end,
        .base = image_base(&map->view, mapping),
        .inode = mapping->inode,
    };
    snprintf(image->name, sizeof image->name, "%s", slash ? slash + 1 : mapping->path);
    map->n_images++;
    if (elf_memory_open(&elf, &map->cache, image->base) ||
        page_cache_read(&map->cache, image->base, image->header, sizeof image->header))
        return NULL; /* code without unwinding information */
    image->bias = elf.bias;
    image->kind = classify(&elf);
    image->retries_eintr = is_cpython(&elf, mapping->path, image->name);
    read_unwind_header(image, &map->cache, elf.unwind_header);
    if (image->kind != CODE_C_LIBRARY)
        return NULL;
    if (!map->program_start)
        elf_memory_exports(&elf, "__libc_start_main", &map->program_start, 1);
    return add_sleepers(map, image, &elf);
}

static bool is_code(const struct mapping *mapping)
{
    return mapping->perms[2] == 'x' && mapping->path[0] != '\0' &&
           strcmp(mapping->path, "[vsyscall]") != 0;
}

/* Is the code that is mapped now what `images` says? */
static bool same_code(const struct codemap *map)
{
    size_t n = 0;
    for (size_t i = 0; i < map->view.n_maps; i++) {
        const struct mapping *mapping = &map->view.maps[i];
        if (!is_code(mapping))
            continue;
        if (n == map->n_images || map->images[n].start != mapping->start ||
            map->images[n].end != mapping->end || map->images[n].inode != mapping->inode)
            return false;
        n++;
    }
    return n == map->n_images;
}

static void drop_images(struct codemap *map)
{
    free(map->images);
    free(map->sleepers);
    page_cache_clear(&map->cache);
    map->images = NULL;
    map->sleepers = NULL;
    map->n_images = map->n_sleepers = 0;
    map->program_start = 0;
}

struct error *codemap_refresh(struct codemap *map, bool *changed)
{
    struct error *error = target_read_maps(&map->view);
    *changed = !error && !same_code(map);
    if (!*changed)
        return error;

    drop_images(map);
    map->images = calloc(map->view.n_maps, sizeof *map->images);
    if (!map->images)
        return no_memory();
    for (size_t i = 0; i < map->view.n_maps && !error; i++)
        if (is_code(&map->view.maps[i]))
            error = add_image(map, &map->view.maps[i]);
    /* An image that was read in part could be taken for one without malloc. */
    return !error && map->cache.out_of_memory ? no_memory() : error;
}

struct error *codemap_open(struct codemap *map, const struct target *target)
{
    bool changed;
    *map = (struct codemap){.view = *target, .cache = {.pid = target->pid}};
    map->view.maps = NULL;
    map->view.n_maps = 0;
    return codemap_refresh(map, &changed);
}

void codemap_close(struct codemap *map)
{
    drop_images(map);
    target_free_maps(&map->view);
    *map = (struct codemap){.n_images = 0};
}

const struct code_image *codemap_find(const struct codemap *map, uint64_t address)
{
    size_t low = 0, high = map->n_images;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (map->images[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < map->n_images && map->images[low].start <= address ? &map->images[low] : NULL;
}

bool codemap_unchanged(const struct codemap *map, const struct code_image *image)
{
    unsigned char now[CODE_HEADER_SIZE];
    struct page_cache uncached = {.pid = map->view.pid};
    int status = page_cache_read(&uncached, image->base, now, sizeof now);
    page_cache_clear(&uncached);
    return !status && !memcmp(now, image->header, sizeof now);
}

/* The start of a function; 0 if it cannot be read. */
static uint64_t table_entry(struct codemap *map, const struct code_image *image, uint32_t index)
{
    struct {
        int32_t function, fde; /* relative to .eh_frame_hdr */
    } entry;
    if (page_cache_read(&map->cache, image->unwind_table + index * sizeof entry, &entry,
                        sizeof entry))
        return 0;
    return image->unwind_header + (uint64_t)(int64_t)entry.function;
}

/* The index behind the last entry of the unwinding table that begins at or before `address`. */
static uint32_t table_position(struct codemap *map, const struct code_image *image,
                               uint64_t address)
{
    uint32_t low = 0, high = image->unwind_entries;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table_entry(map, image, middle) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t codemap_function_start(struct codemap *map, const struct code_image *image,
                                uint64_t address)
{
    uint32_t position = table_position(map, image, address);
    return position ? table_entry(map, image, position - 1) : 0;
}

uint64_t codemap_function_end(struct codemap *map, const struct code_image *image,
                              uint64_t function)
{
    uint32_t position = table_position(map, image, function);
    return position < image->unwind_entries ? table_entry(map, image, position) : image->end;
}

bool codemap_is_sleeper(const struct codemap *map, uint64_t function_start)
{
    return map->n_sleepers && bsearch(&function_start, map->sleepers, map->n_sleepers,
                                      sizeof *map->sleepers, compare_addresses);
}

bool codemap_exports(struct codemap *map, const struct code_image *image, const char *name,
                     uint64_t function_start)
{
    uint64_t addresses[MAX_VERSIONS];
    struct elf_memory elf;
    size_t n = elf_memory_open(&elf, &map->cache, image->base)
                   ? 0
                   : elf_memory_exports(&elf, name, addresses, MAX_VERSIONS);
    for (size_t i = 0; i < n; i++)
        if (addresses[i] == function_start)
            return true;
    return false;
}

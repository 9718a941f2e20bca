#include "statics.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "big.h"

bool read_safely(const void *address, void *to, size_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)address, bytes};

    if (prctl(PR_GET_SECCOMP) == 0) {
        if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)bytes)
            return true;
        if (errno != EPERM && errno != ENOSYS)
            return false;
    }
    /* A seccomp filter may refuse that call, one of debuggers, or kill at it. */
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    bool all = memory >= 0 && pread(memory, to, bytes, (off_t)(uintptr_t)address) == (ssize_t)bytes;
    if (memory >= 0)
        close(memory);
    return all;
}

/* How many of the first of them were read in one call: the first that is not mapped ends it. */
static size_t read_first(const uintptr_t *addresses, size_t n, char *to, size_t bytes)
{
    enum { MOST = 64 };
    struct iovec local = {to, 0}, remote[MOST];
    ssize_t done = -1;

    if (n > MOST)
        n = MOST;
    for (size_t i = 0; i < n; i++)
        remote[i] = (struct iovec){(void *)addresses[i], bytes};
    local.iov_len = n * bytes;
    if (prctl(PR_GET_SECCOMP) == 0)
        done = process_vm_readv(getpid(), &local, 1, remote, n, 0);
    return done < 0 ? 0 : (size_t)done / bytes;
}

void read_each_safely(const uintptr_t *addresses, size_t n, void *to, size_t bytes, bool *got)
{
    for (size_t i = 0; i < n; i++) {
        size_t done = read_first(addresses + i, n - i, (char *)to + i * bytes, bytes);

        for (; done; done--)
            got[i++] = true;
        if (i < n)
            got[i] = read_safely((void *)addresses[i], (char *)to + i * bytes, bytes);
    }
}

/* --- data segments */

/* The writable segments of what is loaded.  Copies: a library may be unloaded meanwhile, as the
 * loader's lock is not held while they are read. */
struct segment {
    uintptr_t start, end, bias;
    char *file; /* the program: "" */
};

struct segments {
    struct segment *items;
    size_t n, cap;
    bool failed;
};

static bool add_segment(struct segments *all, struct segment s, const char *file)
{
    if (!big_reserve(&all->items, all->n, &all->cap, sizeof *all->items))
        return false;
    s.file = strdup(file);
    if (s.file)
        all->items[all->n++] = s;
    return s.file;
}

static bool is_inside(const struct segment *s, const void *address)
{
    return (uintptr_t)address >= s->start && (uintptr_t)address < s->end;
}

static int add_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
    static int of_ours;
    struct segments *all = arg;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        struct segment s = {(start + 7) & ~(uintptr_t)7, start + p->p_memsz, info->dlpi_addr, NULL};

        if (p->p_type != PT_LOAD || !(p->p_flags & PF_W) || is_inside(&s, &of_ours))
            continue;
        if (!add_segment(all, s, info->dlpi_name ? info->dlpi_name : "")) {
            all->failed = true;
            return 1;
        }
    }
    return 0;
}

static void segments_free(struct segments *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->items[i].file);
    big_free(all->items);
}

/* -1: the file system does not tell. */
static int program_path(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);

    if (n < 0)
        return -1;
    path[n] = '\0';
    return 0;
}

/* Until `visit` returns non-zero, which is then returned. */
static int read_segment(const struct segment *s, int (*visit)(const struct static_word *, void *),
                        void *arg)
{
    uintptr_t chunk[512], before = 0;

    /* Its start may be read-only since relocation, but it is readable throughout. */
    for (uintptr_t at = s->start; at + 8 <= s->end; at += sizeof chunk) {
        size_t n = s->end - at < sizeof chunk ? (s->end - at) / 8 : sizeof chunk / 8;

        if (!read_safely((void *)at, chunk, n * 8))
            continue;
        for (size_t i = 0; i < n; i++) {
            uintptr_t *address = (uintptr_t *)at + i;
            struct static_word word = {chunk[i], before, address, s->file,
                                       (uintptr_t)address - s->bias};
            int result = chunk[i] ? visit(&word, arg) : 0;

            if (result)
                return result;
            before = chunk[i];
        }
    }
    return 0;
}

int static_words(int (*visit)(const struct static_word *, void *arg), void *arg)
{
    struct segments all = {0};
    char program[PATH_MAX];
    int result = 0;

    dl_iterate_phdr(add_segments, &all);
    if (all.failed || program_path(program, sizeof program) < 0)
        result = -1;
    for (size_t i = 0; i < all.n && result == 0; i++) {
        struct segment s = all.items[i];

        if (!*s.file)
            s.file = program;
        result = read_segment(&s, visit, arg);
    }
    segments_free(&all);
    return result;
}

const char *static_symbol(const struct static_word *word, size_t *inside)
{
    Dl_info info;

    if (!dladdr(word->address, &info) || !info.dli_sname)
        return NULL;
    *inside = (uintptr_t)word->address - (uintptr_t)info.dli_saddr;
    return info.dli_sname;
}

/* Each value of the method cache has its name, a str, before it. */
bool static_is_uncounted(const struct static_word *word)
{
    size_t inside;
    const char *symbol = static_symbol(word, &inside);
    PyObject head;

    return (symbol && strcmp(symbol, "_PyRuntime") == 0) ||
           (read_safely((void *)word->before, &head, sizeof head) &&
            head.ob_type == &PyUnicode_Type);
}
